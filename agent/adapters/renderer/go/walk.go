package main

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Glob matches segment by segment, so that only the folders a pattern can
// reach are listed.
func (t *treeFS) Glob(pattern string) ([]string, error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, err
	}
	rel, err := inTree(pattern)
	if err != nil {
		return nil, err
	}
	found := []string{root}
	for _, segment := range strings.Split(rel, "/") {
		var next []string
		for _, dir := range found {
			matches, err := t.matchIn(dir, segment)
			if err != nil {
				return nil, err
			}
			next = append(next, matches...)
		}
		found = next
	}
	return found, nil
}

func (t *treeFS) matchIn(dir, segment string) ([]string, error) {
	if !t.IsDir(dir) {
		return nil, t.broken
	}
	if !strings.ContainsAny(segment, `*?[\`) {
		if full := path.Join(dir, segment); t.Exists(full) {
			return []string{full}, nil
		}
		return nil, t.broken
	}
	names, err := t.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var matches []string
	for _, name := range names {
		if ok, err := path.Match(segment, name); err != nil {
			return nil, err
		} else if ok {
			matches = append(matches, path.Join(dir, name))
		}
	}
	return matches, nil
}

func (t *treeFS) Walk(name string, visit filepath.WalkFunc) error {
	_, kind, err := t.kind(name)
	if err == nil && kind == nodeNone {
		err = &os.PathError{Op: "lstat", Path: name, Err: syscall.ENOENT}
	}
	if err != nil {
		err = visit(name, nil, err)
	} else {
		err = t.walk(name, kind, visit)
	}
	if errors.Is(err, filepath.SkipDir) || errors.Is(err, filepath.SkipAll) {
		return nil
	}
	return err
}

func (t *treeFS) walk(name, kind string, visit filepath.WalkFunc) error {
	if kind != nodeDir {
		return visit(name, info{name: path.Base(name)}, nil)
	}
	if err := visit(name, info{name: path.Base(name), dir: true}, nil); err != nil {
		return err
	}
	entries, err := t.list(name)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := t.walk(path.Join(name, e[0]), e[1], visit); err != nil {
			if errors.Is(err, filepath.SkipDir) && e[1] == nodeDir {
				continue
			}
			return err
		}
	}
	return nil
}

// info describes an entry to whoever walks: its name and whether it is a folder.
type info struct {
	name string
	dir  bool
}

func (i info) Name() string { return i.name }
func (i info) Size() int64  { return 0 }
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.dir }
func (i info) Sys() any           { return nil }
