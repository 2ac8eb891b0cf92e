package doctor

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// ownTypes returns the fields that this program knows of konductor's kinds, by kind, each as a path with dots.
func ownTypes() map[string]map[string]bool {
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
				goFields(f.Type, name, fields)
			}
		}
		types[t.Name()] = fields
	}
	return types
}

// goFields adds the paths of a type's fields.
func goFields(t reflect.Type, path string, to map[string]bool) {
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
		goFields(f.Type, path+"."+name, to)
	}
}

// openAPI is the part of an OpenAPI schema that names fields.
type openAPI struct {
	Properties map[string]openAPI `json:"properties"`
	Items      *openAPI           `json:"items"`
	Kinds      []struct {
		Group, Version, Kind string
	} `json:"x-kubernetes-group-version-kind"`
}

// servedTypes returns the fields of konductor's kinds from the API server's description of the group.
func servedTypes(description []byte) (map[string]map[string]bool, error) {
	var document struct {
		Components struct {
			Schemas map[string]openAPI `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(description, &document); err != nil {
		return nil, fmt.Errorf("reading the API server's description of konductor's kinds: %w", err)
	}
	types := map[string]map[string]bool{}
	for _, s := range document.Components.Schemas {
		for _, k := range s.Kinds {
			if k.Group != konductorv1.GroupName || k.Version != konductorv1.GroupVersion().Version || strings.HasSuffix(k.Kind, "List") {
				continue
			}
			fields := map[string]bool{}
			for _, part := range []string{"spec", "status"} {
				if p, ok := s.Properties[part]; ok {
					fields[part] = true
					p.fields(part, fields)
				}
			}
			types[k.Kind] = fields
		}
	}
	return types, nil
}

// fields adds the paths of a schema's fields.
func (s *openAPI) fields(path string, to map[string]bool) {
	if s.Items != nil {
		s.Items.fields(path, to)
	}
	for name, property := range s.Properties {
		to[path+"."+name] = true
		property.fields(path+"."+name, to)
	}
}
