package main

import (
	"fmt"
	"regexp"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// locate finds the first text in the object whose substitution fails in the
// same way and describes where it is; "" if there is none.
func (s *substitution) locate(text []byte, failed error) string {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil || len(doc.Content) == 0 {
		return ""
	}
	found := ""
	eachScalar(doc.Content[0], "", func(path, value string) bool {
		_, err := s.evaluate(value)
		if err == nil || err.Error() != failed.Error() {
			return true
		}
		found = fmt.Sprintf(" (%s: %s)", path, expression(value, err))
		return false
	})
	return found
}

var quotedName = regexp.MustCompile(`"([_[:alpha:]][_[:alnum:]]*)"$`)

// expression is the part of the value that is at fault. Only names are shown
// of it where it may be a secret; the path says the rest.
func expression(value string, err error) string {
	if m := quotedName.FindStringSubmatch(err.Error()); m != nil {
		name := regexp.MustCompile(`\$\{#?` + m[1] + `(\b[^}]{0,60})?\}?`)
		if e := name.FindString(value); e != "" {
			return e
		}
		return "${" + m[1] + "}"
	}
	if _, rest, ok := strings.Cut(value, "${"); ok {
		line, _, _ := strings.Cut(rest, "\n")
		if len(line) > 60 {
			line = line[:60] + "…"
		}
		return "${" + line
	}
	return "$…"
}

// eachScalar visits keys and values until visit returns false.
func eachScalar(node *yaml.Node, at string, visit func(path, value string) bool) bool {
	switch node.Kind {
	case yaml.ScalarNode:
		return visit(at, node.Value)
	case yaml.SequenceNode:
		for i, item := range node.Content {
			if !eachScalar(item, fmt.Sprintf("%s[%d]", at, i), visit) {
				return false
			}
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			key := strings.TrimPrefix(at+"."+node.Content[i].Value, ".")
			if !visit(key, node.Content[i].Value) || !eachScalar(node.Content[i+1], key, visit) {
				return false
			}
		}
	}
	return true
}
