package main

import (
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/envsubst"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/yaml"
)

const substituteKey = "kustomize.toolkit.fluxcd.io/substitute"

const variableNamePattern = "^[_[:alpha:]][_[:alpha:][:digit:]]*$"

var variableName = regexp.MustCompile(variableNamePattern)

// substitution is the post-build variable substitution of one request.
type substitution struct {
	Vars   map[string]string `json:"vars"`
	Always bool              `json:"always"`
	Strict bool              `json:"strict"`

	// invalid tells of a name that is none, once something is to be substituted.
	invalid *failure
	// most bounds the bytes that the variables may put into one text, taken
	// counts them.
	most, taken int
}

var errBackwards = errors.New("unable to take a substring of negative length")

// prepare strips newlines from the values and looks for a name that is none.
// most is in bytes.
func (s *substitution) prepare(most int) {
	s.most = most
	for _, name := range slices.Sorted(maps.Keys(s.Vars)) {
		s.Vars[name] = strings.ReplaceAll(s.Vars[name], "\n", "")
		if s.invalid == nil && !variableName.MatchString(name) {
			s.invalid = failf(kindSubstitution, "envsubst error: '%s' var name is invalid, must match '%s'", name, variableNamePattern)
		}
	}
}

func (s *substitution) applies(res *resource.Resource) bool {
	if s == nil || (len(s.Vars) == 0 && !s.Always) {
		return false
	}
	return res.GetLabels(substituteKey)[substituteKey] != "disabled" &&
		res.GetAnnotations(substituteKey)[substituteKey] != "disabled"
}

func (s *substitution) lookup(name string) (string, bool) {
	value, ok := s.Vars[name]
	if s.taken += len(value); s.taken > s.most {
		value = ""
	}
	return value, ok || !s.Strict
}

// evaluate substitutes in a text. A substring with a negative length makes
// envsubst panic.
func (s *substitution) evaluate(text string) (out string, err error) {
	defer func() {
		if recover() != nil {
			err = errBackwards
		}
	}()
	s.taken = 0
	if out, err = envsubst.Eval(text, s.lookup); s.taken > s.most {
		err = failf(kindLimit, "its variables put more than %d bytes into it", s.most)
	}
	return out, err
}

// document substitutes in the YAML text and reads the result as YAML again,
// so that a value can turn into a number or a boolean.
func (s *substitution) document(text []byte, secret bool) ([]byte, error) {
	if s.invalid != nil {
		return nil, s.invalid
	}
	out, err := s.evaluate(string(text))
	if err != nil {
		kind, hint := asFailure(err, kindSubstitution).kind, ""
		if !secret || quotedName.MatchString(err.Error()) {
			hint = s.locate(text, err)
		}
		return nil, failf(kind, "envsubst error: variable substitution failed: %s%s", err, hint)
	}
	data, err := yaml.YAMLToJSON([]byte(out))
	if err != nil {
		return nil, failf(kindSubstitution, "envsubst error: YAMLToJSON: %s", s.hide(err.Error()))
	}
	return data, nil
}

// hide blanks the values of variables, which may come from Secrets.
func (s *substitution) hide(message string) string {
	values := secrets{}
	for _, value := range s.Vars {
		values.add(value)
	}
	return values.redact(message)
}
