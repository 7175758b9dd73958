package main

import (
	"encoding/base64"
	"path"
	"regexp"
	"sort"
	"strings"

	"sigs.k8s.io/yaml"
)

// secrets collects values that must not appear in an error.
type secrets map[string]struct{}

const (
	redacted = "***"
	// shorter values would blank half of a message, and say little.
	shortestSecret = 3
	longestMessage = 16 << 10
)

func (s secrets) add(value string) {
	for _, line := range strings.Split(value, "\n") {
		if line = strings.TrimSpace(line); len(line) >= shortestSecret {
			s[line] = struct{}{}
		}
	}
	if decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value)); err == nil && value != "" {
		if line := strings.TrimSpace(string(decoded)); len(line) >= shortestSecret {
			s[line] = struct{}{}
		}
	}
}

// plain collects everything from a text that was decrypted, whatever its form.
func (s secrets) plain(text []byte) {
	s.add(string(text))
	for line := range strings.Lines(string(text)) {
		_, value, _ := strings.Cut(line, "=")
		s.add(value)
	}
	for _, part := range split(text) {
		var doc any
		if err := yaml.Unmarshal(part, &doc); err == nil {
			eachString(doc, "", func(_, value string) { s.add(value) })
		}
	}
}

// text collects from a manifest, a patch or a kustomization. It is only used
// once something failed, so it may take its time.
func (s secrets) text(dir string, content []byte, files map[string][]byte) {
	for _, part := range split(content) {
		var doc any
		if err := yaml.Unmarshal(part, &doc); err != nil {
			if holdsSecret.Match(part) {
				s.lines(string(part))
			}
			continue
		}
		s.document(dir, doc, files)
	}
}

// credentials are the user information of addresses that hold a password or token.
var credentials = regexp.MustCompile(`(https?://)[^/\s@'"]+@|(\w://)[^/\s@:'"]+:[^/\s@'"]+@`)

var holdsSecret = regexp.MustCompile(`(?i)["']?kind["']?\s*:\s*["']?secret\b|\bsecretGenerator\b`)

// isKey is what the API server takes for a key of a Secret.
var isKey = regexp.MustCompile(`^[-._a-zA-Z0-9]+$`)

// lines takes what stands after the first colon of each line, for text that
// cannot be parsed.
func (s secrets) lines(text string) {
	for _, line := range strings.Split(text, "\n") {
		key, value, ok := strings.Cut(line, ":")
		switch strings.Trim(key, " \"'-") {
		case "kind", "apiVersion", "name", "namespace", "type", "metadata":
			continue
		}
		if !ok {
			value = line
		}
		s.add(strings.Trim(strings.TrimSpace(value), `"'`))
		for _, word := range strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(" {}[],:\"'\t\r", r) }) {
			s.add(word)
		}
	}
}

func (s secrets) document(dir string, doc any, files map[string][]byte) {
	object, ok := doc.(map[string]any)
	if !ok {
		return
	}
	if kind, _ := object["kind"].(string); strings.EqualFold(kind, "secret") {
		for _, field := range []string{"data", "stringData"} {
			eachString(object[field], "", func(_, value string) { s.add(value) })
		}
		metadata, _ := object["metadata"].(map[string]any)
		eachString(metadata["annotations"], "", func(_, value string) { s.add(value) })
	}
	if items, ok := object["items"].([]any); ok {
		for _, item := range items {
			s.document(dir, item, files)
		}
	}
	s.patches(dir, object["patches"], files)
	s.patches(dir, object["patchesJson6902"], files)
	for _, field := range []string{"patchesStrategicMerge", "transformers", "generators", "validators"} {
		eachString(object[field], "", func(_, value string) {
			s.text(dir, []byte(value), nil)
			s.unreadable(value)
		})
	}
	generators, _ := object["secretGenerator"].([]any)
	for _, generator := range generators {
		if g, ok := generator.(map[string]any); ok {
			s.generator(dir, g, files)
		}
	}
}

func (s secrets) patches(dir string, list any, files map[string][]byte) {
	patches, _ := list.([]any)
	for _, item := range patches {
		p, _ := item.(map[string]any)
		inline, _ := p["patch"].(string)
		target, _ := p["target"].(map[string]any)
		text := []byte(inline)
		if file, ok := p["path"].(string); ok {
			text = files[path.Join(dir, file)]
		}
		s.text(dir, text, nil)
		s.unreadable(inline)
		if kind, _ := target["kind"].(string); strings.EqualFold(kind, "secret") {
			s.operations(text)
		}
	}
}

// unreadable takes text that is written into a kustomization and is no YAML:
// Kustomize quotes what it cannot read, and nobody knows what it was for.
func (s secrets) unreadable(inline string) {
	if yaml.Unmarshal([]byte(inline), new(any)) != nil {
		s.add(inline)
	}
}

// operations takes the values of a JSON patch.
func (s secrets) operations(text []byte) {
	var operations []any
	if err := yaml.Unmarshal(text, &operations); err != nil {
		s.lines(string(text))
		return
	}
	for _, operation := range operations {
		if o, ok := operation.(map[string]any); ok {
			eachString(o["value"], "", func(_, value string) { s.add(value) })
		}
	}
}

func (s secrets) generator(dir string, g map[string]any, files map[string][]byte) {
	eachString(g["literals"], "", func(_, literal string) {
		key, value, ok := strings.Cut(literal, "=")
		if !ok || !isKey.MatchString(key) {
			// Kustomize quotes what it takes for no pair; the author may have written `key: value`.
			s.add(literal)
			s.add(key)
		}
		s.add(strings.Trim(value, `"'`))
	})
	content := func(_, name string) {
		if _, file, ok := strings.Cut(name, "="); ok {
			name = file
		}
		text := string(files[path.Join(dir, name)])
		s.add(text)
		for _, line := range strings.Split(text, "\n") {
			_, value, _ := strings.Cut(line, "=")
			s.add(value)
		}
	}
	for _, field := range []string{"files", "envs", "env"} {
		eachString(g[field], "", content)
	}
}

// redact blanks the secrets in the message, longest first, and bounds it.
func (s secrets) redact(message string) string {
	values := make([]string, 0, len(s))
	for value := range s {
		values = append(values, value)
	}
	sort.Slice(values, func(i, j int) bool { return len(values[i]) > len(values[j]) })
	for _, value := range values {
		message = strings.ReplaceAll(message, value, redacted)
	}
	message = credentials.ReplaceAllString(message, "$1$2"+redacted+"@")
	if len(message) > longestMessage {
		message = message[:longestMessage] + "…"
	}
	return message
}
