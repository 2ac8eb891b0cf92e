package cli

import (
	"strings"

	"github.com/spf13/cobra"
)

// suggestWord returns the known word that a misspelled one most likely stands for; "" if there is none.
func suggestWord(word string, known []string) string {
	if word == "" {
		return ""
	}
	parent := &cobra.Command{}
	for _, k := range known {
		parent.AddCommand(&cobra.Command{Use: k, Run: func(*cobra.Command, []string) {}})
	}
	for parent.SuggestionsMinimumDistance = 1; parent.SuggestionsMinimumDistance <= maxSuggestDistance; parent.SuggestionsMinimumDistance++ {
		if meant := parent.SuggestionsFor(strings.ToLower(word)); len(meant) > 0 {
			return meant[0]
		}
	}
	return ""
}
