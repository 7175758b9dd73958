package main

import (
	"bytes"

	"sigs.k8s.io/yaml"
)

// documents answers a yaml request: each document of the text as JSON, empty
// ones left out.
func documents(text []byte, limits limits) ([][]byte, error) {
	var out [][]byte
	total := 0
	for i, part := range split(text) {
		data, err := yaml.YAMLToJSON(part)
		if err != nil {
			return nil, failf(kindDecode, "document %d: %s", i+1, err)
		}
		if bytes.Equal(data, []byte("null")) {
			continue
		}
		if total += len(data); total > limits.output {
			return nil, failf(kindLimit, "the text has more than %d bytes of documents", limits.output)
		}
		out = append(out, data)
	}
	return out, nil
}

// split cuts at document markers. What follows a marker on its line belongs to
// the document it starts; directives before one belong to it too, and mean
// nothing here.
func split(text []byte) [][]byte {
	var parts [][]byte
	var part []byte
	for line := range bytes.Lines(text) {
		rest, marked := bytes.CutPrefix(line, []byte("---"))
		if !marked || len(bytes.TrimLeft(rest, " \t\r\n")) == len(rest) && len(rest) > 0 {
			part = append(part, line...)
			continue
		}
		if !onlyDirectives(part) {
			parts = append(parts, part)
		}
		part = append([]byte("   "), rest...)
	}
	return append(parts, part)
}

func onlyDirectives(part []byte) bool {
	for line := range bytes.Lines(part) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '%' && line[0] != '#' {
			return false
		}
	}
	return true
}
