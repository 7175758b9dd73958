package main

import "sigs.k8s.io/kustomize/api/types"

// request is what the agent asks for. Field names are those of the Flux
// Kustomization spec where it has them.
type request struct {
	Type string `json:"type"`

	Path                    string            `json:"path"`
	TargetNamespace         string            `json:"targetNamespace"`
	NamePrefix              string            `json:"namePrefix"`
	NameSuffix              string            `json:"nameSuffix"`
	Patches                 []patch           `json:"patches"`
	Components              []string          `json:"components"`
	IgnoreMissingComponents bool              `json:"ignoreMissingComponents"`
	Images                  []types.Image     `json:"images"`
	BuildMetadata           []string          `json:"buildMetadata"`
	CommonLabels            map[string]string `json:"commonLabels"`
	CommonAnnotations       map[string]string `json:"commonAnnotations"`
	Substitution            *substitution     `json:"substitution"`
	Decrypt                 bool              `json:"decrypt"`

	// Mode and Expressions belong to compile and evaluate requests.
	Mode        string   `json:"mode"`
	Expressions []string `json:"expressions"`
}

type patch struct {
	Patch  string    `json:"patch"`
	Target *selector `json:"target"`
}

type selector struct {
	Group              string `json:"group"`
	Version            string `json:"version"`
	Kind               string `json:"kind"`
	Name               string `json:"name"`
	Namespace          string `json:"namespace"`
	LabelSelector      string `json:"labelSelector"`
	AnnotationSelector string `json:"annotationSelector"`
}

func (s *selector) kustomize() *types.Selector {
	if s == nil {
		return nil
	}
	out := &types.Selector{LabelSelector: s.LabelSelector, AnnotationSelector: s.AnnotationSelector}
	out.Group, out.Version, out.Kind = s.Group, s.Version, s.Kind
	out.Name, out.Namespace = s.Name, s.Namespace
	return out
}

// response closes a request: either sizes of the documents in the body, or a
// failure.
type response struct {
	Type     string   `json:"type"`
	Sizes    []int    `json:"sizes,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	// Exposed are plain values of what was encrypted that are in other objects
	// than Secrets.
	Exposed []string `json:"exposed,omitempty"`
	Kind    string   `json:"kind,omitempty"`
	Message string   `json:"message,omitempty"`
}
