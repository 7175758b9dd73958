package main

import (
	"errors"
	"fmt"
)

// The kinds of failure the agent tells apart.
const (
	// kindKey: none of the keys fits.
	kindKey = "key"
	// kindText: the text is not what SOPS has written.
	kindText     = "text"
	kindInternal = "internal"
)

// failure is an error with its kind and the text a person reads in a status.
// It never holds plain text or a key.
type failure struct {
	kind    string
	message string
}

func (f *failure) Error() string { return f.message }

func failf(kind, format string, args ...any) *failure {
	return &failure{kind: kind, message: fmt.Sprintf(format, args...)}
}

func asFailure(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	return &failure{kind: kindText, message: err.Error()}
}
