package main

import (
	"fmt"
	"path"
	"slices"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/yaml"
)

// admit looks at each file before kustomize does.
func (t *treeFS) admit(rel string, content []byte) ([]byte, error) {
	if err := checkExpansion(content); err != nil {
		return nil, fmt.Errorf("%s: %w", rel, err)
	}
	if slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(rel)) {
		t.learn(rel, content)
	}
	if t.manifests[rel] {
		content = markIntegers(content)
	}
	return content, nil
}

// learn notes what a kustomization file refers to.
func (t *treeFS) learn(rel string, content []byte) {
	var doc map[string]any
	if err := yaml.Unmarshal(content, &doc); err != nil {
		return
	}
	t.entries.learn(rel, doc)
	if t.decryptor != nil {
		t.decryptor.learn(path.Dir(rel), doc)
	}
	for _, field := range []string{"resources", "bases", "patches", "patchesStrategicMerge", "patchesJson6902"} {
		list, _ := doc[field].([]any)
		for _, item := range list {
			name, _ := item.(string)
			if p, ok := item.(map[string]any); ok {
				name, _ = p["path"].(string)
			}
			t.manifests[path.Join(path.Dir(rel), name)] = true
		}
	}
}
