package main

import (
	"bytes"
	"crypto/rand"
	"regexp"
	"slices"
	"unicode/utf8"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// kustomize expands lists and applies JSON patches through float64, which
// changes integers beyond 2^53. While kustomize works, such an integer in a
// manifest or a patch is a marker that spells its digits; afterwards it is
// the integer again. No source can contain a marker of its own, because a
// part of it is drawn when the process starts.

const firstInexact = 1 << 53

var markerStart = "__" + rand.Text() + "_"

var (
	plainInteger = regexp.MustCompile(`^-?[1-9][0-9]*$`)
	longInteger  = regexp.MustCompile(`[0-9]{16,}`)
	marker       = regexp.MustCompile(markerStart + `(-?[0-9]+)__`)
	quotedMarker = regexp.MustCompile(`"` + markerStart + `(-?[0-9]+)__"`)
)

// markIntegers replaces plain integers beyond 2^53 by markers. Text that is
// not YAML is left to kustomize to complain about.
func markIntegers(content []byte) []byte {
	if !longInteger.Match(content) {
		return content
	}
	lines := bytes.SplitAfter(content, []byte("\n"))
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var found []*yaml.Node
	for {
		var doc yaml.Node
		if err := decoder.Decode(&doc); err != nil {
			break
		}
		collect(&doc, &found)
	}
	// From the back, so that the columns before stay right.
	for _, node := range slices.Backward(found) {
		line := lines[node.Line-1]
		start := byteColumn(line, node.Column-1)
		end := start + len(node.Value)
		if end <= len(line) && string(line[start:end]) == node.Value {
			lines[node.Line-1] = slices.Concat(line[:start], []byte(`"`+markerStart+node.Value+`__"`), line[end:])
		}
	}
	return bytes.Join(lines, nil)
}

// byteColumn turns a column in characters into one in bytes.
func byteColumn(line []byte, column int) int {
	at := 0
	for range column {
		_, size := utf8.DecodeRune(line[at:])
		at += size
	}
	return at
}

func collect(node *yaml.Node, found *[]*yaml.Node) {
	if node.Kind == yaml.ScalarNode && node.Style == 0 && node.ShortTag() == "!!int" {
		var signed int64
		var unsigned uint64
		if plainInteger.MatchString(node.Value) && (node.Decode(&signed) == nil && (signed > firstInexact || signed < -firstInexact) ||
			node.Decode(&unsigned) == nil && unsigned > firstInexact) {
			*found = append(*found, node)
		}
	}
	for i, child := range node.Content {
		if node.Kind != yaml.MappingNode || i%2 == 1 {
			collect(child, found)
		}
	}
}

// restoreInText puts the integers back in YAML text.
func restoreInText(text []byte) []byte {
	if !bytes.Contains(text, []byte(markerStart)) {
		return text
	}
	return marker.ReplaceAll(text, []byte("$1"))
}

// restoreInJSON puts the integers back in JSON.
func restoreInJSON(data []byte) []byte {
	if !bytes.Contains(data, []byte(markerStart)) {
		return data
	}
	return marker.ReplaceAll(quotedMarker.ReplaceAll(data, []byte("$1")), []byte("$1"))
}
