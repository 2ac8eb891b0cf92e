package flags

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// durationValue is a duration flag whose errors show a valid value.
type durationValue time.Duration

func (d *durationValue) String() string { return time.Duration(*d).String() }
func (d *durationValue) Type() string   { return "duration" }
func (d *durationValue) Set(s string) error {
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is not a duration: write a number with a unit, for example 30s, 5m or 1h30m", s)
	}
	*d = durationValue(v)
	return nil
}

// AddDuration adds a duration flag with a default.
func AddDuration(cmd *cobra.Command, p *time.Duration, name string, value time.Duration, usage string) {
	*p = value
	cmd.Flags().Var((*durationValue)(p), name, usage)
	if value == 0 {
		// So that help shows no default: there is none.
		cmd.Flags().Lookup(name).DefValue = "0"
	}
}

// ValidateTTL rejects a --ttl that would end before the holder learns of its hold.
func ValidateTTL(cmd *cobra.Command) error {
	if err := ValidatePositive(cmd, "ttl"); err != nil {
		return err
	}
	f := cmd.Flags().Lookup("ttl")
	if v, ok := f.Value.(*durationValue); ok && f.Changed && time.Duration(*v) < konductorv1.MinTTL {
		return fmt.Errorf("--ttl must be at least %s: a shorter hold could expire before its holder learns of it", konductorv1.MinTTL)
	}
	return nil
}

// ValidatePositive checks that the flags that were given are longer than zero.
func ValidatePositive(cmd *cobra.Command, names ...string) error {
	for _, name := range names {
		f := cmd.Flags().Lookup(name)
		if v, ok := f.Value.(*durationValue); ok && f.Changed && *v <= 0 {
			return fmt.Errorf("--%s must be longer than zero, for example 30s, 5m or 1h30m", name)
		}
	}
	return nil
}
