package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/openapi"
	"sigs.k8s.io/yaml"
	"weir.dev/pipe"
)

// build answers a build request: the objects as JSON, in kustomize's order, and
// plain values in them that are not to be shown.
func build(w *pipe.Wire, req *request, limits limits) ([][]byte, []string, error) {
	// Clamped like a secure join: climbing above the root ends at the root.
	req.Path = strings.TrimPrefix(path.Clean("/"+req.Path), "/")
	tree := newTreeFS(w)
	if req.Decrypt {
		tree.decryptor = &decryptor{tree: tree, sources: map[string]string{}, patches: map[string]bool{}}
	}
	switch _, kind, err := tree.kind(path.Join(root, req.Path)); {
	case err != nil:
		return nil, nil, err
	case kind == nodeNone:
		return nil, nil, failf(kindPathNotFound, "kustomization path not found: stat %s: no such file or directory", req.Path)
	case kind == nodeFile:
		return nil, nil, failf(kindPathNotFound, "kustomization path not found: %s is a file, not a directory", req.Path)
	}
	if req.Substitution != nil {
		req.Substitution.prepare(limits.output)
	}
	objects, err := objects(tree, req, limits)
	if err != nil {
		return nil, nil, explained(tree, err)
	}
	exposed, err := tree.decryptor.shown()
	return objects, exposed, err
}

func objects(tree *treeFS, req *request, limits limits) ([][]byte, error) {
	if err := generate(tree, req); err != nil {
		return nil, err
	}
	m, err := run(tree, path.Join(root, req.Path))
	if err != nil {
		return nil, fmt.Errorf("kustomize build failed: %w", err)
	}
	return finish(tree.decryptor, m, req, limits)
}

// explained prefers the error that broke the reading over what kustomize made
// of it, says what to do where that is known, and leaves secrets out.
func explained(tree *treeFS, err error) error {
	if tree.broken != nil {
		err = tree.broken
	}
	f := asFailure(err, kindBuild)
	f.message = string(restoreInText([]byte(withoutRoot(f.message))))
	if better := tree.entries.explain(f.message); better != nil {
		f = better
	}
	hidden := secrets{}
	for _, files := range []map[string][]byte{tree.files, tree.overlay} {
		for name, content := range files {
			hidden.text(path.Dir(name), content, tree.files)
		}
	}
	tree.decryptor.hide(hidden)
	f.message = hidden.redact(f.message)
	return f
}

func run(tree *treeFS, dir string) (m resmap.ResMap, err error) {
	defer func() {
		// kustomize panics on some malformed objects.
		if r := recover(); r != nil {
			err = fmt.Errorf("kustomize panicked: %v", r)
		}
		if tree.entries.openapi {
			// A schema of one build is none of the next one's business.
			openapi.ResetOpenAPI()
			openapi.Schema()
		}
	}()
	return krusty.MakeKustomizer(&krusty.Options{
		LoadRestrictions: types.LoadRestrictionsNone,
		PluginConfig:     types.DisabledPluginConfig(),
	}).Run(tree, dir)
}

func finish(d *decryptor, m resmap.ResMap, req *request, limits limits) ([][]byte, error) {
	var out [][]byte
	total := 0
	unique := identities{}
	for _, res := range m.Resources() {
		if res.GetApiVersion() == "" || res.GetKind() == "" || res.GetName() == "" {
			return nil, failf(kindInvalidObject,
				"failed to decode Kubernetes apiVersion, kind and name from: apiVersion %q, kind %q, name %q",
				res.GetApiVersion(), res.GetKind(), res.GetName())
		}
		plain, err := d.object(res)
		if err != nil {
			return nil, err
		}
		data, err := document(res, plain, req.Substitution)
		if err != nil {
			return nil, err
		}
		objects, err := objectsIn(data)
		if err != nil {
			return nil, fmt.Errorf("%s/%s: %w", res.GetGvk(), res.GetName(), err)
		}
		for _, object := range objects {
			if err := unique.add(object); err != nil {
				return nil, err
			}
			mergeMetadata(object, "labels", req.CommonLabels)
			mergeMetadata(object, "annotations", req.CommonAnnotations)
			data, err := encode(object)
			if err != nil {
				return nil, err
			}
			if total += len(data); total > limits.output {
				return nil, failf(kindLimit, "the build has more than %d bytes of objects", limits.output)
			}
			out = append(out, data)
		}
	}
	return out, nil
}

// document is the object after the substitution, as JSON; plain is what it was
// decrypted to, nil if it was not encrypted.
func document(res *resource.Resource, plain []byte, s *substitution) ([]byte, error) {
	if !s.applies(res) {
		if plain != nil {
			return plain, nil
		}
		data, err := res.MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("kustomize build failed: %s/%s: %w", res.GetGvk(), res.GetName(), err)
		}
		return restoreInJSON(data), nil
	}
	var text []byte
	var err error
	if plain != nil {
		// What is substituted in is YAML, as it is for everything else.
		text, err = yaml.JSONToYAML(plain)
	} else {
		text, err = res.AsYAML()
	}
	if err != nil {
		return nil, fmt.Errorf("kustomize build failed: %s/%s: %w", res.GetGvk(), res.GetName(), err)
	}
	data, err := s.document(restoreInText(text), plain != nil || strings.EqualFold(res.GetKind(), "Secret"))
	if err != nil {
		return nil, fmt.Errorf("post build failed for '%s/%s': %w", res.GetGvk(), res.GetName(), err)
	}
	return data, nil
}

// objectsIn expands a list and leaves out kustomize's own configuration.
func objectsIn(data []byte) ([]map[string]any, error) {
	var object map[string]any
	decoder := json.NewDecoder(bytes.NewReader(data))
	// Numbers stay the text they are, whatever their size.
	decoder.UseNumber()
	if err := decoder.Decode(&object); err != nil {
		return nil, failf(kindInvalidObject, "not an object: %s", err)
	}
	if items, ok := object["items"].([]any); ok {
		var objects []map[string]any
		for i, item := range items {
			o, ok := item.(map[string]any)
			if !ok {
				return nil, failf(kindInvalidObject, "item %d of the list is not an object", i)
			}
			objects = append(objects, o)
		}
		return objects, nil
	}
	apiVersion, kind, name := identity(object)
	if apiVersion == "" || kind == "" || name == "" {
		return nil, failf(kindInvalidObject,
			"the substitution left it without apiVersion, kind or name: apiVersion %q, kind %q, name %q", apiVersion, kind, name)
	}
	if strings.EqualFold(kind, "Kustomization") && strings.HasPrefix(apiVersion, "kustomize.config.k8s.io/") {
		return nil, nil
	}
	return []map[string]any{object}, nil
}

func identity(object map[string]any) (apiVersion, kind, name string) {
	apiVersion, _ = object["apiVersion"].(string)
	kind, _ = object["kind"].(string)
	metadata, _ := object["metadata"].(map[string]any)
	name, _ = metadata["name"].(string)
	return apiVersion, kind, name
}

// identities are the objects of one build. kustomize sees to it that they are
// unique, but a substitution can make two of them the same.
type identities map[[4]string]struct{}

func (ids identities) add(object map[string]any) error {
	apiVersion, kind, name := identity(object)
	metadata, _ := object["metadata"].(map[string]any)
	namespace, _ := metadata["namespace"].(string)
	id := [4]string{apiVersion, kind, namespace, name}
	if _, ok := ids[id]; ok {
		return failf(kindSubstitution, "two objects are %s/%s %s/%s after the substitution", apiVersion, kind, namespace, name)
	}
	ids[id] = struct{}{}
	return nil
}

func mergeMetadata(object map[string]any, field string, values map[string]string) {
	if len(values) == 0 {
		return
	}
	metadata, ok := object["metadata"].(map[string]any)
	if !ok {
		metadata = map[string]any{}
		object["metadata"] = metadata
	}
	current, ok := metadata[field].(map[string]any)
	if !ok {
		current = map[string]any{}
		metadata[field] = current
	}
	for key, value := range values {
		current[key] = value
	}
}

func encode(object map[string]any) ([]byte, error) {
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(object); err != nil {
		return nil, errors.Join(failf(kindInternal, "encoding an object"), err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}
