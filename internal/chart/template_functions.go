package chart

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/blang/semver/v4"
	sigsyaml "sigs.k8s.io/yaml"
)

// files are the chart's files by path. Templates call its methods.
type files map[string][]byte

// Get returns the content of a file; empty if there is none.
func (f files) Get(name string) string { return string(f[name]) }

// Glob returns the files whose paths match.
func (f files) Glob(pattern string) files {
	found := files{}
	for name, content := range f {
		if ok, err := path.Match(pattern, name); ok && err == nil {
			found[name] = content
		}
	}
	return found
}

func (f files) sortedPaths() []string { return slices.Sorted(maps.Keys(f)) }

// newFuncMap returns those of Helm's functions that the chart uses, with Helm's meaning.
func newFuncMap(tree *template.Template) template.FuncMap {
	return template.FuncMap{
		"include": func(name string, data any) (string, error) {
			var out strings.Builder
			err := tree.ExecuteTemplate(&out, name, data)
			return out.String(), err
		},
		"fail": func(message string) (string, error) { return "", fmt.Errorf("%s", message) },

		"toYaml": func(v any) (string, error) {
			out, err := sigsyaml.Marshal(v)
			return strings.TrimSuffix(string(out), "\n"), err
		},
		"fromYaml": func(text string) (map[string]any, error) {
			out := map[string]any{}
			err := sigsyaml.Unmarshal([]byte(text), &out)
			return out, err
		},
		"toJson": func(v any) (string, error) {
			out, err := json.Marshal(v)
			return string(out), err
		},

		"indent":     indent,
		"nindent":    func(spaces int, text string) string { return "\n" + indent(spaces, text) },
		"quote":      func(v any) string { return strconv.Quote(toString(v)) },
		"replace":    func(old, by, in string) string { return strings.ReplaceAll(in, old, by) },
		"lower":      strings.ToLower,
		"trimPrefix": func(prefix, s string) string { return strings.TrimPrefix(s, prefix) },
		"trimSuffix": func(suffix, s string) string { return strings.TrimSuffix(s, suffix) },
		"base":       path.Base,
		"regexFind": func(pattern, in string) (string, error) {
			r, err := regexp.Compile(pattern)
			if err != nil {
				return "", err
			}
			return r.FindString(in), nil
		},
		"join": join,

		"default": func(otherwise, v any) any {
			if truth, ok := template.IsTrue(v); ok && truth {
				return v
			}
			return otherwise
		},
		"int":           func(v any) (int, error) { n, err := toInt64(v); return int(n), err },
		"int64":         toInt64,
		"semverCompare": semverCompare,

		"concat": slices.Concat[[]any],

		"dict":  dict,
		"list":  func(items ...any) []any { return items },
		"first": first,
		"has":   func(item any, list []any) bool { return slices.Contains(list, item) },
		"set":   func(m map[string]any, key string, v any) map[string]any { m[key] = v; return m },
		"merge": func(into map[string]any, from ...map[string]any) map[string]any {
			for _, m := range from {
				for key, v := range m {
					if _, ok := into[key]; !ok {
						into[key] = v
					}
				}
			}
			return into
		},
	}
}

func indent(spaces int, text string) string {
	pad := strings.Repeat(" ", spaces)
	return pad + strings.ReplaceAll(text, "\n", "\n"+pad)
}

func toString(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

func join(separator string, list []any) string {
	words := make([]string, len(list))
	for i, item := range list {
		words[i] = toString(item)
	}
	return strings.Join(words, separator)
}

func first(list []any) any {
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("dict takes pairs, not %d values", len(pairs))
	}
	out := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		out[toString(pairs[i])] = pairs[i+1]
	}
	return out, nil
}

// toInt64 returns a number from YAML, which may be a float64 or a string, as an integer.
func toInt64(v any) (int64, error) {
	switch n := v.(type) {
	case int:
		return int64(n), nil
	case int64:
		return n, nil
	case float64:
		return int64(n), nil
	case string:
		return strconv.ParseInt(n, 10, 64)
	default:
		return 0, fmt.Errorf("%v is not a number", v)
	}
}

// semverCompare reports whether a version is in a range such as ">=1.36.0-0".
func semverCompare(constraint, version string) (bool, error) {
	in, err := semver.ParseRange(constraint)
	if err != nil {
		return false, fmt.Errorf("%q is not a range of versions: %w", constraint, err)
	}
	v, err := semver.ParseTolerant(version)
	if err != nil {
		return false, fmt.Errorf("%q is not a version: %w", version, err)
	}
	return in(v), nil
}
