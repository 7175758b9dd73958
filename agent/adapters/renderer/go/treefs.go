package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"weir.dev/pipe"
)

// root is where the source tree appears to be mounted. Everything outside is
// refused, so a path that climbs out of the tree is an error, not a surprise.
const root = "/+source"

const (
	nodeFile = "file"
	nodeDir  = "dir"
	nodeNone = ""
)

var errReadOnly = errors.New("the source is read-only")

type question struct {
	Type  string   `json:"type"`
	Paths []string `json:"paths"`
}

type answer struct {
	// Kinds answers a stat, path by path.
	Kinds []string `json:"kinds"`
	// Entries answers a list: name and kind, sorted by name.
	Entries [][2]string `json:"entries"`
	// Refused is set when the agent will not give the content (too large) or
	// cannot decrypt it.
	Refused string `json:"refused"`
}

// treeFS is the file system of one build. It knows only what the agent
// answers, asks each question once, and overlays the generated kustomization.
type treeFS struct {
	wire    *pipe.Wire
	kinds   map[string]string
	files   map[string][]byte
	lists   map[string][][2]string
	overlay map[string][]byte
	// broken is the first error that makes every further answer worthless.
	broken error
	// entries is what the kustomization files read so far say.
	entries entries
	// manifests are the files known to be resources or patches.
	manifests map[string]bool
	// decryptor is nil where nothing is to be decrypted.
	decryptor *decryptor
}

func newTreeFS(w *pipe.Wire) *treeFS {
	return &treeFS{
		wire:      w,
		kinds:     map[string]string{"": nodeDir},
		files:     map[string][]byte{},
		lists:     map[string][][2]string{},
		overlay:   map[string][]byte{},
		manifests: map[string]bool{},
	}
}

// inTree gives the path relative to the tree's root, "" being the root.
func inTree(name string) (string, error) {
	abs := path.Clean("/" + name)
	if !path.IsAbs(name) {
		abs = path.Join(root, name)
	}
	if abs == root {
		return "", nil
	}
	rel, ok := strings.CutPrefix(abs, root+"/")
	if !ok {
		shown, err := filepath.Rel(root, abs)
		if err != nil {
			shown = name
		}
		return "", failf(kindBuild, "path '%s' is not in or below the root of the source", shown)
	}
	return rel, nil
}

func (t *treeFS) ask(kind string, paths ...string) (answer, []byte, error) {
	var a answer
	if t.broken != nil {
		return a, nil, t.broken
	}
	a, body, err := t.exchange(question{Type: kind, Paths: paths})
	if err != nil {
		return a, nil, err
	}
	if a.Refused != "" {
		t.broken = failf(kindLimit, "%s", a.Refused)
		return a, nil, t.broken
	}
	return a, body, nil
}

// exchange asks one question of any type and waits for the answer.
func (t *treeFS) exchange(header any, bodies ...[]byte) (answer, []byte, error) {
	var a answer
	err := t.wire.Send(header, bodies...)
	var body []byte
	if err == nil {
		body, err = t.wire.Receive(&a)
	}
	if err != nil {
		t.broken = fmt.Errorf("agent: %w", err)
		return a, nil, t.broken
	}
	return a, body, nil
}

// stat learns what each path is, with one question for all unknown ones.
func (t *treeFS) stat(rels ...string) error {
	var unknown []string
	for _, rel := range rels {
		if _, ok := t.kinds[rel]; !ok {
			unknown = append(unknown, rel)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	a, _, err := t.ask("stat", unknown...)
	if err != nil {
		return err
	}
	if len(a.Kinds) != len(unknown) {
		return failf(kindInternal, "asked about %d paths, answered %d", len(unknown), len(a.Kinds))
	}
	for i, rel := range unknown {
		t.kinds[rel] = a.Kinds[i]
	}
	return nil
}

func (t *treeFS) kind(name string) (string, string, error) {
	rel, err := inTree(name)
	if err != nil {
		return "", "", err
	}
	if _, ok := t.overlay[rel]; ok {
		return rel, nodeFile, nil
	}
	probes := []string{rel}
	if base := path.Base(rel); slices.Contains(konfig.RecognizedKustomizationFileNames(), base) {
		// Whoever looks for one of the names looks for all of them.
		probes = probes[:0]
		for _, other := range konfig.RecognizedKustomizationFileNames() {
			probes = append(probes, path.Join(path.Dir(rel), other))
		}
	}
	if err := t.stat(probes...); err != nil {
		return rel, "", err
	}
	return rel, t.kinds[rel], nil
}

func (t *treeFS) Exists(name string) bool {
	_, kind, err := t.kind(name)
	return err == nil && kind != nodeNone
}

func (t *treeFS) IsDir(name string) bool {
	_, kind, err := t.kind(name)
	return err == nil && kind == nodeDir
}

func (t *treeFS) ReadFile(name string) ([]byte, error) {
	rel, err := inTree(name)
	if err != nil {
		return nil, err
	}
	if content, ok := t.overlay[rel]; ok {
		return content, nil
	}
	if content, ok := t.files[rel]; ok {
		return content, nil
	}
	content, err := t.fetch(name, rel)
	if err != nil {
		return nil, err
	}
	if t.decryptor != nil {
		content, err = t.decryptor.file(rel, content)
	}
	if err == nil {
		content, err = t.admit(rel, content)
	}
	if err != nil {
		t.broken = err
		return nil, err
	}
	t.files[rel] = content
	return content, nil
}

// fetch asks for the content of a file, unless it is known to be none.
func (t *treeFS) fetch(name, rel string) ([]byte, error) {
	kind, known := t.kinds[rel]
	if !known && slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(rel)) {
		var err error
		if _, kind, err = t.kind(name); err != nil {
			return nil, err
		}
		known = true
	}
	var content []byte
	if !known || kind == nodeFile {
		a, body, err := t.ask("read", rel)
		if err != nil {
			return nil, err
		}
		if len(a.Kinds) != 1 {
			return nil, failf(kindInternal, "a read was answered with %d kinds", len(a.Kinds))
		}
		kind, content = a.Kinds[0], body
		t.kinds[rel] = kind
	}
	switch kind {
	case nodeNone:
		return nil, &os.PathError{Op: "open", Path: name, Err: syscall.ENOENT}
	case nodeDir:
		return nil, &os.PathError{Op: "read", Path: name, Err: syscall.EISDIR}
	}
	return content, nil
}

func (t *treeFS) list(name string) ([][2]string, error) {
	rel, kind, err := t.kind(name)
	if err != nil {
		return nil, err
	}
	switch kind {
	case nodeNone:
		return nil, &os.PathError{Op: "open", Path: name, Err: syscall.ENOENT}
	case nodeFile:
		return nil, &os.PathError{Op: "readdirent", Path: name, Err: syscall.ENOTDIR}
	}
	if entries, ok := t.lists[rel]; ok {
		return entries, nil
	}
	a, _, err := t.ask("list", rel)
	if err != nil {
		return nil, err
	}
	for _, e := range a.Entries {
		t.kinds[path.Join(rel, e[0])] = e[1]
	}
	t.lists[rel] = a.Entries
	return a.Entries, nil
}

func (t *treeFS) ReadDir(name string) ([]string, error) {
	entries, err := t.list(name)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e[0]
	}
	return names, nil
}

func (t *treeFS) CleanedAbs(name string) (filesys.ConfirmedDir, string, error) {
	rel, kind, err := t.kind(name)
	if err != nil {
		return "", "", err
	}
	abs := path.Join(root, rel)
	switch kind {
	case nodeDir:
		return filesys.ConfirmedDir(abs), "", nil
	case nodeFile:
		return filesys.ConfirmedDir(path.Dir(abs)), path.Base(abs), nil
	}
	return "", "", &os.PathError{Op: "lstat", Path: abs, Err: syscall.ENOENT}
}

func (t *treeFS) Create(string) (filesys.File, error) { return nil, errReadOnly }
func (t *treeFS) Mkdir(string) error                  { return errReadOnly }
func (t *treeFS) MkdirAll(string) error               { return errReadOnly }
func (t *treeFS) RemoveAll(string) error              { return errReadOnly }
func (t *treeFS) WriteFile(string, []byte) error      { return errReadOnly }
func (t *treeFS) Open(string) (filesys.File, error)   { return nil, errReadOnly }
