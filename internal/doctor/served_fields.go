package doctor

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// expectedFields returns the fields of konductor's kinds that this program knows, by kind, each as a path with dots.
func expectedFields() map[string]map[string]bool {
	types := map[string]map[string]bool{}
	for _, kind := range []any{
		konductorv1.Barrier{}, konductorv1.Gate{}, konductorv1.Lease{}, konductorv1.Semaphore{}, konductorv1.Claim{}, konductorv1.Arrival{},
	} {
		t := reflect.TypeOf(kind)
		fields := map[string]bool{}
		for _, part := range []string{"Spec", "Status"} {
			if f, ok := t.FieldByName(part); ok {
				name := strings.ToLower(part)
				fields[name] = true
				addStructFields(f.Type, name, fields)
			}
		}
		types[t.Name()] = fields
	}
	return types
}

// addStructFields adds the paths of a type's fields.
func addStructFields(t reflect.Type, path string, to map[string]bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Marshaler]()) {
		return
	}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		to[path+"."+name] = true
		addStructFields(f.Type, path+"."+name, to)
	}
}

// openAPISchema is the part of an OpenAPI schema that declares fields.
type openAPISchema struct {
	Properties        map[string]openAPISchema `json:"properties"`
	Items             *openAPISchema           `json:"items"`
	GroupVersionKinds []struct {
		Group, Version, Kind string
	} `json:"x-kubernetes-group-version-kind"`
}

// parseServedFields returns the fields of konductor's kinds from the API server's OpenAPI document of the group.
func parseServedFields(description []byte) (map[string]map[string]bool, error) {
	var document struct {
		Components struct {
			Schemas map[string]openAPISchema `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(description, &document); err != nil {
		return nil, fmt.Errorf("reading the API server's OpenAPI schema of konductor's kinds: %w", err)
	}
	types := map[string]map[string]bool{}
	for _, s := range document.Components.Schemas {
		for _, k := range s.GroupVersionKinds {
			if k.Group != konductorv1.GroupName || k.Version != konductorv1.GroupVersion().Version || strings.HasSuffix(k.Kind, "List") {
				continue
			}
			fields := map[string]bool{}
			for _, part := range []string{"spec", "status"} {
				if p, ok := s.Properties[part]; ok {
					fields[part] = true
					p.addFields(part, fields)
				}
			}
			types[k.Kind] = fields
		}
	}
	return types, nil
}

// addFields adds the paths of a schema's fields.
func (s *openAPISchema) addFields(path string, to map[string]bool) {
	if s.Items != nil {
		s.Items.addFields(path, to)
	}
	for name, property := range s.Properties {
		to[path+"."+name] = true
		property.addFields(path+"."+name, to)
	}
}
