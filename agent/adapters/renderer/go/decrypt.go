package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/resource"
)

// SOPS' formats, by its names for them.
const (
	formatYAML   = "yaml"
	formatJSON   = "json"
	formatDotenv = "dotenv"
	formatINI    = "ini"
	formatBinary = "binary"
)

// largestEncrypted is Flux's bound for an encrypted file, in bytes.
const largestEncrypted = 5 << 20

// markers tell that a text is encrypted, by its format. A binary file is
// wrapped in JSON when it is encrypted.
var markers = map[string][]byte{
	formatYAML:   []byte(`mac: ENC[`),
	formatJSON:   []byte(`"mac": "ENC[`),
	formatBinary: []byte(`"mac": "ENC[`),
	formatDotenv: []byte(`sops_mac=ENC[`),
	formatINI:    []byte(`[sops]`),
}

// marked is the format that a text's marker tells, "" for none.
func marked(text []byte) string {
	for _, format := range []string{formatYAML, formatJSON, formatDotenv, formatINI} {
		if bytes.Contains(text, markers[format]) {
			return format
		}
	}
	return ""
}

func formatOf(name string) string {
	switch path.Ext(name) {
	case ".yaml", ".yml":
		return formatYAML
	case ".json", ".dockerconfigjson":
		return formatJSON
	case ".env":
		return formatDotenv
	case ".ini":
		return formatINI
	}
	return formatBinary
}

// decryptor asks the agent for plain text. The renderer itself never has a key.
type decryptor struct {
	tree *treeFS
	// sources are the files whose role makes them decrypted as they are read,
	// with the format that the role gives them.
	sources map[string]string
	// patches are those of them that may change objects of any kind.
	patches map[string]bool
	// done keeps what was decrypted, so that no error shows it.
	done []decrypted
	// exposed are plain values that are in no Secret once the build is done, so
	// that whoever shows objects knows what not to show.
	exposed []string
}

type decrypted struct{ before, after []byte }

// values are the plain values. What can be read in the encrypted text as well
// is no secret.
func (t decrypted) values() secrets {
	values := secrets{}
	values.plain(t.after)
	for value := range values {
		if bytes.Contains(t.before, []byte(value)) {
			delete(values, value)
		}
	}
	return values
}

type decryptQuestion struct {
	Type   string `json:"type"`
	Input  string `json:"input"`
	Output string `json:"output"`
}

func (d *decryptor) ask(what string, text []byte, input, output string) ([]byte, error) {
	if d.tree.broken != nil {
		return nil, d.tree.broken
	}
	a, plain, err := d.tree.exchange(decryptQuestion{Type: "decrypt", Input: input, Output: output}, text)
	if err != nil {
		return nil, err
	}
	if a.Refused != "" {
		return nil, failf(kindDecryption, "decryption failed for %s: %s", what, a.Refused)
	}
	d.done = append(d.done, decrypted{before: text, after: plain})
	return plain, nil
}

// learn notes the files of a kustomization that are decrypted before anything
// is built from them: what secretGenerators take in, and patches.
func (d *decryptor) learn(dir string, doc map[string]any) {
	generators, _ := doc["secretGenerator"].([]any)
	for _, item := range generators {
		generator, _ := item.(map[string]any)
		for _, file := range texts(generator["files"]) {
			key, name, named := strings.Cut(file, "=")
			if !named {
				name = key
			}
			d.add(dir, name, formatOf(key))
		}
		for _, file := range append(texts(generator["envs"]), texts([]any{generator["env"]})...) {
			format := formatOf(file)
			if format == formatBinary {
				format = formatDotenv
			}
			d.add(dir, file, format)
		}
	}
	patches, _ := doc["patches"].([]any)
	for _, item := range patches {
		p, _ := item.(map[string]any)
		if name, _ := p["path"].(string); name != "" {
			d.add(dir, name, formatOf(name))
			d.patches[path.Join(dir, name)] = true
		}
	}
}

func texts(list any) []string {
	var out []string
	items, _ := list.([]any)
	for _, item := range items {
		if text, ok := item.(string); ok {
			out = append(out, text)
		}
	}
	return out
}

func (d *decryptor) add(dir, name, format string) {
	rel := path.Join(dir, name)
	if _, ok := d.sources[rel]; ok {
		return
	}
	d.sources[rel] = format
	// Another role may have read it before.
	delete(d.tree.files, rel)
}

// file decrypts the content of a file if its role asks for it.
func (d *decryptor) file(rel string, content []byte) ([]byte, error) {
	format, ok := d.sources[rel]
	if !ok || !bytes.Contains(content, markers[format]) {
		return content, nil
	}
	if len(content) > largestEncrypted {
		return nil, failf(kindDecryption, "decryption failed for '%s': cannot decrypt file with size (%d bytes) exceeding limit (%d)",
			rel, len(content), largestEncrypted)
	}
	plain, err := d.ask("'"+rel+"'", content, format, format)
	if err == nil && d.patches[rel] {
		d.expose()
	}
	return plain, err
}

const decryptKey = "kustomize.toolkit.fluxcd.io/decrypt"

// object decrypts a built object: as a whole where it has SOPS' metadata, which
// gives the JSON to take in its place, else the entries of a Secret in place.
func (d *decryptor) object(res *resource.Resource) ([]byte, error) {
	if d == nil || strings.EqualFold(res.GetAnnotations(decryptKey)[decryptKey], "disabled") {
		return nil, nil
	}
	what := fmt.Sprintf("'%s/%s'", res.GetKind(), path.Join(res.GetNamespace(), res.GetName()))
	if encrypted(res) {
		return d.whole(what, res)
	}
	if res.GetKind() == "Secret" {
		return nil, d.entries(what, res)
	}
	return nil, nil
}

func encrypted(res *resource.Resource) bool {
	field := res.Field("sops")
	if field.IsNilOrEmpty() {
		return false
	}
	return !field.Value.Field("mac").IsNilOrEmpty()
}

func (d *decryptor) whole(what string, res *resource.Resource) ([]byte, error) {
	data, err := res.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("decryption failed for %s: %w", what, err)
	}
	// SOPS has bound each value to its place and not to its neighbours, so that what kustomize added does not matter.
	plain, err := d.ask(what, restoreInJSON(data), formatJSON, formatJSON)
	if err == nil && res.GetKind() != "Secret" {
		d.expose()
	}
	return plain, err
}

func (d *decryptor) entries(what string, res *resource.Resource) error {
	data := res.GetDataMap()
	found := false
	for key, value := range data {
		text, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			// The API server refuses it and says so.
			continue
		}
		input := marked(text)
		if input == "" {
			continue
		}
		plain, err := d.ask(what+", entry '"+key+"'", text, input, formatOf(key))
		if err != nil {
			return err
		}
		data[key] = base64.StdEncoding.EncodeToString(plain)
		found = true
	}
	if found {
		res.SetDataMap(data)
	}
	return nil
}

// hide adds everything that was decrypted to what an error must not show.
func (d *decryptor) hide(hidden secrets) {
	if d == nil {
		return
	}
	for _, text := range d.done {
		maps.Copy(hidden, text.values())
	}
}

// mostExposed bounds the values that are told, in bytes.
const mostExposed = 4 << 20

// shown are the values that are in no Secret.
func (d *decryptor) shown() ([]string, error) {
	if d == nil {
		return nil, nil
	}
	total := 0
	for _, value := range d.exposed {
		total += len(value)
	}
	if total > mostExposed {
		return nil, failf(kindLimit, "what is decrypted outside of Secrets has %d bytes; the limit is %d", total, mostExposed)
	}
	return d.exposed, nil
}

// expose notes that the values of the last decrypted text go to where values
// are usually shown.
func (d *decryptor) expose() {
	d.exposed = slices.AppendSeq(d.exposed, maps.Keys(d.done[len(d.done)-1].values()))
}
