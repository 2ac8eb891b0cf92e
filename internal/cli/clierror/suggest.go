package clierror

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// MaxSuggestDistance is the greatest edit distance at which a word is suggested.
const MaxSuggestDistance = 2

// SuggestWord returns the known word that a misspelled one most likely stands for; "" if there is none.
func SuggestWord(word string, known []string) string {
	if word == "" {
		return ""
	}
	parent := &cobra.Command{}
	for _, k := range known {
		parent.AddCommand(&cobra.Command{Use: k, Run: func(*cobra.Command, []string) {}})
	}
	for parent.SuggestionsMinimumDistance = 1; parent.SuggestionsMinimumDistance <= MaxSuggestDistance; parent.SuggestionsMinimumDistance++ {
		if meant := parent.SuggestionsFor(strings.ToLower(word)); len(meant) > 0 {
			return meant[0]
		}
	}
	return ""
}

// UnknownKindError returns the error for an unknown kind, with a suggestion.
func UnknownKindError(word string, known ...string) error {
	if meant := SuggestWord(word, known); meant != "" {
		return fmt.Errorf("there is no kind %q: did you mean %s?", word, meant)
	}
	return fmt.Errorf("there is no kind %q: use %s", word, JoinAlternatives(known))
}

// JoinAlternatives joins words as alternatives.
func JoinAlternatives(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
