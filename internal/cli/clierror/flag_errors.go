package clierror

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// FlagError says what is wrong with a flag, and what to write instead.
func FlagError(cmd *cobra.Command, err error) error {
	var (
		unknown  *pflag.NotExistError
		required *pflag.ValueRequiredError
		invalid  *pflag.InvalidValueError
		syntax   *pflag.InvalidSyntaxError
	)
	see := fmt.Sprintf("(see '%s --help')", cmd.CommandPath())
	switch {
	case errors.As(err, &unknown):
		name := unknown.GetSpecifiedName()
		var known []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				known = append(known, f.Name)
			}
		})
		if meant := SuggestWord(name, known); meant != "" && unknown.GetSpecifiedShortnames() == "" {
			return fmt.Errorf("%s has no flag --%s: did you mean --%s?", cmd.CommandPath(), name, meant)
		}
		if unknown.GetSpecifiedShortnames() != "" {
			name = "-" + name
		} else {
			name = "--" + name
		}
		return fmt.Errorf("%s has no flag %s %s", cmd.CommandPath(), name, see)
	case errors.As(err, &required):
		return fmt.Errorf("--%s needs a value %s", required.GetFlag().Name, see)
	case errors.As(err, &invalid):
		return flagValueError(invalid, see)
	case errors.As(err, &syntax):
		return fmt.Errorf("%s is not a flag: write --NAME or --NAME=VALUE %s", syntax.GetSpecifiedFlag(), see)
	default:
		return fmt.Errorf("%w %s", err, see)
	}
}

// flagValueError says what a flag's value has to look like.
func flagValueError(err *pflag.InvalidValueError, see string) error {
	flag := err.GetFlag()
	switch flag.Value.Type() {
	case "int32", "int64", "int":
		return fmt.Errorf("--%s must be a whole number, not %q %s", flag.Name, err.GetValue(), see)
	case "bool":
		return fmt.Errorf("--%s must be true or false, not %q %s", flag.Name, err.GetValue(), see)
	case "duration":
		return fmt.Errorf("--%s: %w", flag.Name, err.Unwrap())
	default:
		return fmt.Errorf("--%s: %w %s", flag.Name, err.Unwrap(), see)
	}
}
