// Command chartvalues writes the table of a chart's values into its README.md, from the comments in its values.yaml.
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
