package docs

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"

	"github.com/LogicIQ/konductor/internal/cli"
)

// shellPlaceholder stands for values that only the shell would know.
const shellPlaceholder = "1"

// scriptCommands returns the simple commands of a script, including those in substitutions and branches.
func scriptCommands(script string) (all [][]string, err error) {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(script), "")
	if err != nil {
		return nil, fmt.Errorf("not a script: %w\n%s", err, script)
	}
	config := &expand.Config{
		Env: expand.FuncEnviron(func(name string) string {
			if name == "IFS" {
				return "" // the default
			}
			return shellPlaceholder
		}),
		CmdSubst:  func(w io.Writer, _ *syntax.CmdSubst) error { _, err := io.WriteString(w, shellPlaceholder); return err },
		ProcSubst: func(*syntax.ProcSubst) (string, error) { return shellPlaceholder, nil },
	}
	syntax.Walk(file, func(node syntax.Node) bool {
		call, ok := node.(*syntax.CallExpr)
		if !ok || len(call.Args) == 0 || err != nil {
			return err == nil
		}
		var argv []string
		if argv, err = expand.Fields(config, call.Args...); err == nil && len(argv) > 0 {
			all = append(all, argv)
		}
		return err == nil
	})
	return all, err
}

// konductorCalls returns the arguments of each konductor command in argv: itself, the command of run, or in the script of a
// shell.
func konductorCalls(argv []string) (calls [][]string, err error) {
	if len(argv) == 0 {
		return nil, nil
	}
	switch path.Base(argv[0]) {
	case "koncli", "kubectl-konductor":
		calls = append(calls, argv[1:])
	case "kubectl":
		if len(argv) > 1 && argv[1] == "konductor" {
			calls = append(calls, argv[2:])
		}
	case "exec", "time", "sudo":
		return konductorCalls(argv[1:])
	case "sh", "bash":
		if i := slices.Index(argv, "-c"); i >= 0 && i+1 < len(argv) {
			commands, err := scriptCommands(argv[i+1])
			if err != nil {
				return nil, err
			}
			for _, c := range commands {
				inner, err := konductorCalls(c)
				if err != nil {
					return nil, err
				}
				calls = append(calls, inner...)
			}
		}
	}
	if len(calls) == 1 && len(calls[0]) > 0 && calls[0][0] == "run" {
		if i := slices.Index(calls[0], "--"); i >= 0 {
			inner, err := konductorCalls(calls[0][i+1:])
			if err != nil {
				return nil, err
			}
			calls = append(calls, inner...)
		}
	}
	return calls, nil
}

// commandTree returns the program's commands.
func commandTree() *cobra.Command {
	root := cli.CommandTree("koncli")
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	return root
}

// validateCall parses the arguments of a call as the program would, without running it.
func validateCall(call []string) error {
	top := commandTree()
	cmd, rest, err := top.Find(call)
	if err != nil {
		return err
	}
	cmd.InitDefaultHelpFlag()
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if help := cmd.Flags().Lookup("help"); help != nil && help.Changed {
		return nil
	}
	if cmd.HasSubCommands() && cmd != top && cmd.Flags().NArg() == 0 {
		return fmt.Errorf("%s does nothing without a verb", cmd.CommandPath())
	}
	return errors.Join(cmd.ValidateArgs(cmd.Flags().Args()), cmd.ValidateRequiredFlags(), cmd.ValidateFlagGroups())
}

// validateMention checks the commands and flags of a call within a sentence, with placeholders for values.
func validateMention(span string) error {
	words := strings.Fields(span)
	switch {
	case len(words) > 1 && words[0] == "koncli":
		words = words[1:]
	case len(words) > 2 && words[0] == "kubectl" && words[1] == "konductor":
		words = words[2:]
	default:
		return nil
	}
	cmd := commandTree()
	for len(words) > 0 {
		i := slices.IndexFunc(cmd.Commands(), func(c *cobra.Command) bool { return c.Name() == words[0] || c.HasAlias(words[0]) })
		if i < 0 {
			break
		}
		cmd, words = cmd.Commands()[i], words[1:]
	}
	if cmd.HasSubCommands() && len(words) > 0 && !strings.HasPrefix(words[0], "-") && words[0] != "…" && strings.ToUpper(words[0]) != words[0] {
		return fmt.Errorf("%s has no command %s", cmd.CommandPath(), words[0])
	}
	cmd.InitDefaultHelpFlag()
	for _, word := range words {
		name, isFlag := strings.CutPrefix(word, "--")
		if isFlag && name == "" {
			break
		}
		if name, _, _ = strings.Cut(name, "="); isFlag && cmd.Flag(name) == nil {
			return fmt.Errorf("%s has no flag --%s", cmd.CommandPath(), name)
		}
	}
	return nil
}

func TestCommandLineValidation(t *testing.T) {
	for line, good := range map[string]bool{
		"koncli barrier wait done --timeout 30m":                                     true,
		"koncli barrier wiat done":                                                   false,
		"koncli barrier wait":                                                        false,
		"koncli barrier wait a b":                                                    false,
		"koncli barrier wait done --timeout 30":                                      false,
		"koncli barrier wait done --tiemout 30m":                                     false,
		"kubectl konductor barrier":                                                  false,
		"kubectl konductor lease acquire x --permits 2":                              false,
		"kubectl konductor why job/deploy":                                           true,
		"koncli lease acquire x --holder $HOSTNAME --timeout 0":                      true,
		"kubectl konductor why deploy":                                               false,
		"if koncli lease acquire x --holder $HOSTNAME; then koncli lease relase; fi": false,
		"source <(koncli completion bash)":                                           true,
		"source <(koncli completion bashful x y)":                                    false,
		"echo $(koncli lease grab x)":                                                false,
		"/konductor/koncli run --lease a -- sh -c 'koncli barrier arive b'":          false,
		"/konductor/koncli run --lease a -- sh -c 'koncli barrier arrive b'":         true,
		"koncli run --leese a -- true":                                               false,
		"koncli run --lease a -- grep --leese x":                                     true,
	} {
		commands, err := scriptCommands(line)
		calls := 0
		for _, argv := range commands {
			found, e := konductorCalls(argv)
			err = errors.Join(err, e)
			for _, call := range found {
				calls++
				err = errors.Join(err, validateCall(call))
			}
		}
		if calls == 0 || good != (err == nil) {
			t.Errorf("%s: %d calls, %v", line, calls, err)
		}
	}
	for span, good := range map[string]bool{
		"koncli lease acquire": true, "koncli barrier arrive --failed": true, "kubectl konductor why KIND/NAME": true,
		"koncli lease grab": false, "koncli barrier arrive --broken": false, "kubectl konductor wyh x": false, "koncli": true,
	} {
		if err := validateMention(span); good != (err == nil) {
			t.Errorf("`%s`: %v", span, err)
		}
	}
}
