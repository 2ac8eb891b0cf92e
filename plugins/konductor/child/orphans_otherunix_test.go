//go:build unix && !linux

package child

import "errors"

func beFirst() error { return errors.New("only Linux has containers") }
