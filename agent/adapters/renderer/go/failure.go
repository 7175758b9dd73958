package main

import (
	"errors"
	"fmt"
	"strings"
)

// The kinds of failure the agent tells apart.
const (
	kindBuild         = "build"
	kindPathNotFound  = "path-not-found"
	kindSubstitution  = "substitution"
	kindDecode        = "decode"
	kindDecryption    = "decryption"
	kindInvalidObject = "invalid-object"
	kindRemote        = "remote"
	kindLimit         = "limit"
	kindInternal      = "internal"
)

// failure is an error with its kind and the text a person reads in a status.
type failure struct {
	kind    string
	message string
}

func (f *failure) Error() string { return f.message }

func failf(kind, format string, args ...any) *failure {
	return &failure{kind: kind, message: fmt.Sprintf(format, args...)}
}

// asFailure gives err its kind: the innermost typed failure decides, the text
// stays that of the whole chain.
func asFailure(err error, kind string) *failure {
	var f *failure
	if errors.As(err, &f) {
		kind = f.kind
	}
	return &failure{kind: kind, message: err.Error()}
}

// withoutRoot turns the absolute paths that kustomize prints into paths
// relative to the source's root.
func withoutRoot(message string) string {
	message = strings.ReplaceAll(message, root+"/", "")
	return strings.ReplaceAll(message, root, ".")
}
