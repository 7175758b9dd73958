package main

import (
	"bytes"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// mostNodes bounds what a file may become once its aliases are written out,
// which kustomize does without a bound.
const mostNodes = 500_000

var (
	errExpansion = failf(kindLimit, "its YAML aliases expand to more than %d values", mostNodes)
	errSelf      = failf(kindDecode, "a YAML anchor contains itself")
)

func checkExpansion(content []byte) error {
	if !bytes.Contains(content, []byte("*")) || !bytes.Contains(content, []byte("&")) {
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	sizes := map[*yaml.Node]int{}
	total := 0
	for {
		var doc yaml.Node
		if err := decoder.Decode(&doc); err != nil {
			// Not YAML, or its end: nothing that could expand.
			return nil
		}
		size, err := expanded(&doc, sizes)
		if err != nil {
			return err
		}
		if total += size; total > mostNodes {
			return errExpansion
		}
	}
}

// expanded counts the nodes below one, each anchored node being counted once
// and then known. A size of -1 marks a node that is being counted.
func expanded(node *yaml.Node, sizes map[*yaml.Node]int) (int, error) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if size, ok := sizes[node]; ok {
		if size < 0 {
			return 0, errSelf
		}
		return size, nil
	}
	if node.Anchor != "" {
		sizes[node] = -1
	}
	size := 1
	for _, child := range node.Content {
		below, err := expanded(child, sizes)
		if err != nil {
			return 0, err
		}
		if size += below; size > mostNodes {
			return 0, errExpansion
		}
	}
	if node.Anchor != "" {
		sizes[node] = size
	}
	return size, nil
}
