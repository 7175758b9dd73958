package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/provider"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"
)

// generate overlays the kustomization that the build starts from: the one in
// the folder, or one listing what a walk finds, with the fields of the Flux
// Kustomization spec put in, in the order Flux's generator does it.
func generate(tree *treeFS, req *request) error {
	dir := path.Join(root, req.Path)
	file, k, err := startingPoint(tree, dir)
	if err != nil {
		return err
	}
	if req.TargetNamespace != "" {
		k.Namespace = req.TargetNamespace
	}
	if req.NamePrefix != "" {
		k.NamePrefix = req.NamePrefix
	}
	if req.NameSuffix != "" {
		k.NameSuffix = req.NameSuffix
	}
	for _, p := range req.Patches {
		k.Patches = append(k.Patches, types.Patch{Patch: p.Patch, Target: p.Target.kustomize()})
	}
	for _, component := range req.Components {
		if !localRelative(component) {
			return failf(kindBuild, "component path '%s' must be local and relative", component)
		}
		if req.IgnoreMissingComponents && !tree.Exists(path.Join(dir, component)) {
			continue
		}
		k.Components = append(k.Components, component)
	}
	for _, image := range req.Images {
		k.Images = mergeImage(k.Images, image)
	}
	if len(req.BuildMetadata) > 0 {
		k.BuildMetadata = req.BuildMetadata
	}
	for i := range k.Patches {
		k.Patches[i].Patch = string(markIntegers([]byte(k.Patches[i].Patch)))
	}
	content, err := yaml.Marshal(k)
	if err != nil {
		return err
	}
	rel, err := inTree(file)
	if err != nil {
		return err
	}
	tree.learn(rel, content)
	tree.overlay[rel] = content
	return tree.broken
}

func startingPoint(tree *treeFS, dir string) (string, *types.Kustomization, error) {
	k := &types.Kustomization{
		TypeMeta: types.TypeMeta{APIVersion: types.KustomizationVersion, Kind: types.KustomizationKind},
	}
	if name, ok := kustomizationIn(tree, dir); ok {
		file := path.Join(dir, name)
		content, err := tree.ReadFile(file)
		if err != nil {
			return "", nil, err
		}
		// Not strict: a field this version does not know is ignored.
		if err := yaml.Unmarshal(content, k); err != nil {
			return "", nil, fmt.Errorf("%s: %w", file, err)
		}
		if len(k.Resources) == 0 {
			// kustomize calls a file that only has resources it lacks empty.
			k.BuildMetadata = []string{types.OriginAnnotations}
		}
		return file, k, nil
	}
	found, err := manifestsBelow(tree, dir)
	if err != nil {
		return "", nil, err
	}
	for _, p := range found {
		k.Resources = append(k.Resources, "."+strings.TrimPrefix(p, dir))
	}
	if len(found) == 0 {
		// Any field will do to build nothing without the "is empty" error.
		k.Namespace = "_placeholder"
	}
	return path.Join(dir, konfig.DefaultKustomizationFileName()), k, nil
}

func kustomizationIn(tree *treeFS, dir string) (string, bool) {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		if file := path.Join(dir, name); tree.Exists(file) && !tree.IsDir(file) {
			return name, true
		}
	}
	return "", false
}

// manifestsBelow finds what an absent kustomization would list: manifests,
// and folders that have a kustomization of their own, not entered.
func manifestsBelow(tree *treeFS, dir string) ([]string, error) {
	var found []string
	err := tree.Walk(dir, func(p string, entry os.FileInfo, err error) error {
		switch {
		case err != nil:
			return err
		case p == dir:
			return nil
		case entry.IsDir():
			if _, ok := kustomizationIn(tree, p); ok {
				found = append(found, p)
				return filepath.SkipDir
			}
			return tree.broken
		case path.Ext(p) != ".yaml" && path.Ext(p) != ".yml":
			return nil
		}
		rel, err := inTree(p)
		if err != nil {
			return err
		}
		tree.manifests[rel] = true
		content, err := tree.ReadFile(p)
		if err != nil {
			return err
		}
		if err := decodes(content); err != nil {
			return failf(kindDecode, "failed to decode Kubernetes YAML from %s: %s", p, err)
		}
		found = append(found, p)
		return nil
	})
	return found, err
}

func decodes(content []byte) (err error) {
	defer func() {
		// kustomize panics on some malformed objects.
		if r := recover(); r != nil {
			err = fmt.Errorf("the parser gave up: %v", r)
		}
	}()
	_, err = provider.NewDefaultDepProvider().GetResourceFactory().SliceFromBytes(content)
	return err
}

// mergeImage merges field by field into the entry of that name. Tag and
// digest both choose the version, so either replaces the pair.
func mergeImage(images []types.Image, image types.Image) []types.Image {
	for i := range images {
		if images[i].Name != image.Name {
			continue
		}
		if image.NewName != "" {
			images[i].NewName = image.NewName
		}
		if image.NewTag != "" || image.Digest != "" {
			images[i].NewTag, images[i].Digest = image.NewTag, image.Digest
		}
		return images
	}
	return append(images, image)
}

func localRelative(component string) bool {
	lower := strings.ToLower(component)
	for _, prefix := range []string{"git::", "gh:", "ssh://", "https://", "http://", "git@", "github.com:", "github.com/"} {
		if len(lower) > len(prefix) && strings.HasPrefix(lower, prefix) {
			return false
		}
	}
	return !path.IsAbs(component) && !path.IsAbs(strings.TrimPrefix(lower, "file://"))
}
