// Command chartvalues writes the table of a chart's values into its README.md, from the comments in its values.yaml. helm-docs
// would need a mark in each of these comments, which then are less readable, and a whole README as a template.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "error: name the folder of one chart: chartvalues FOLDER")
		os.Exit(1)
	}
	if err := updateReadme(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
