// Command reference writes the reference of the command line from the commands themselves: as Markdown for docs/cli, as man pages
// for a release. The output depends on nothing but the commands: not on the time, the machine or the user.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	markdown := flag.String("markdown", "", "write Markdown pages to this folder, and remove those of commands that are gone")
	man := flag.String("man", "", "write man pages to this folder, and remove those of commands that are gone")
	flag.Parse()
	if err := writePages(*markdown, *man, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}
