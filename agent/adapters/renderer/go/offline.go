package main

import (
	"errors"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"sort"
	"strings"
)

var errOffline = errors.New("the renderer has no network")

// refusing stands in for the network: kustomize would fetch what a
// kustomization names with http:// or https://.
type refusing struct{}

func (refusing) RoundTrip(*http.Request) (*http.Response, error) { return nil, errOffline }

// entry is a string in a kustomization file.
type entry struct {
	file  string
	field string
	value string
}

// entries remembers what kustomization files say, to explain a failure.
type entries struct {
	remote  []entry
	helm    []entry
	plugins []entry
	// openapi is set once one of them brings its own schema.
	openapi bool
}

// learn collects from one decoded kustomization file.
func (e *entries) learn(file string, doc map[string]any) {
	for _, field := range []string{"helmCharts", "helmChartInflationGenerator"} {
		list, _ := doc[field].([]any)
		for i, item := range list {
			chart, _ := item.(map[string]any)
			name, _ := chart["name"].(string)
			if name == "" {
				name, _ = chart["chartName"].(string)
			}
			e.helm = append(e.helm, entry{file, fmt.Sprintf("%s[%d]", field, i), name})
		}
	}
	if _, ok := doc["openapi"]; ok {
		e.openapi = true
	}
	for _, field := range []string{"generators", "transformers", "validators"} {
		list, _ := doc[field].([]any)
		for i, item := range list {
			value, _ := item.(string)
			e.plugins = append(e.plugins, entry{file, fmt.Sprintf("%s[%d]", field, i), value})
		}
	}
	eachString(doc, "", func(field, value string) {
		if !loads.MatchString(field) {
			return
		}
		if _, file, ok := strings.Cut(value, "="); ok && strings.Contains(field, "files[") {
			value = file
		}
		if !localRelative(value) && !path.IsAbs(value) || strings.Contains(value, "?ref=") || strings.Contains(value, ".git//") {
			e.remote = append(e.remote, entry{file, field, value})
		}
	})
}

// loads matches the fields whose values are loaded.
var loads = regexp.MustCompile(`^((resources|bases|components|crds|configurations|generators|transformers|validators|` +
	`patchesStrategicMerge)\[\d+\]|openapi\.path|(patches|patchesJson6902|replacements)\[\d+\]\.path|` +
	`(configMap|secret)Generator\[\d+\]\.((files|envs)\[\d+\]|env))$`)

// eachString visits every string below v with its path, in a stable order.
func eachString(v any, at string, visit func(path, value string)) {
	switch v := v.(type) {
	case string:
		visit(at, v)
	case []any:
		for i, item := range v {
			eachString(item, fmt.Sprintf("%s[%d]", at, i), visit)
		}
	case map[string]any:
		keys := make([]string, 0, len(v))
		for key := range v {
			keys = append(keys, key)
		}
		sort.Strings(keys)
		for _, key := range keys {
			eachString(v[key], strings.TrimPrefix(at+"."+key, "."), visit)
		}
	}
}

// explain turns a failure that came of something the renderer does not do
// into one that names the entry and the remedy; nil if it is none of these.
func (e *entries) explain(message string) *failure {
	offline := strings.Contains(message, errOffline.Error()) || strings.Contains(message, "no 'git' program on path")
	for _, r := range e.remote {
		// For a component kustomize does not say which one it was.
		if strings.Contains(message, r.value) || offline && strings.HasPrefix(r.field, "components") {
			return failf(kindRemote, "%s: %s names %q, which is not in the source, and nothing is fetched while building: "+
				"copy it into the repository, or give it a source and a Kustomization of its own", r.file, r.field, r.value)
		}
	}
	switch {
	case offline:
		return failf(kindRemote, "nothing is fetched while building, everything has to be in the source: %s", message)
	case strings.Contains(message, "must specify --enable-helm") && len(e.helm) > 0:
		h := e.helm[0]
		return failf(kindRemote, "%s: %s (chart %q) is not inflated: commit the rendered chart, or use a HelmRelease", h.file, h.field, h.value)
	case strings.Contains(message, "external plugins disabled"):
		for _, p := range e.plugins {
			return failf(kindBuild, "%s: %s names a plugin or function (%s) that would run a program; only kustomize's built-in "+
				"ones are available: commit what it generates", p.file, p.field, pluginName(message))
		}
	}
	return nil
}

func pluginName(message string) string {
	_, rest, _ := strings.Cut(message, "unable to load external plugin '")
	name, _, _ := strings.Cut(rest, "'")
	return name
}
