// Package secret keeps passwords and tokens out of everything that is written.
package secret

import (
	"fmt"
	"strings"
	"unique"
)

const redacted = "[redacted]"

// Text is a password or a token. However it is printed, logged or marshalled, it reads [redacted];
// only Reveal gives it away. Texts are equal (==) when their secrets are. The zero Text is empty.
type Text struct {
	// A handle, not a string: package fmt prints the unexported fields of a struct without asking
	// their methods, and of a handle it can print no more than an address.
	handle unique.Handle[string]
}

// New returns s as a secret.
func New(s string) Text {
	if s == "" {
		return Text{}
	}
	return Text{unique.Make(s)}
}

// Reveal returns the secret itself. Use it only where the secret is sent, verified, parsed or used as a
// key.
func (t Text) Reveal() string {
	if t.IsZero() {
		return ""
	}
	return t.handle.Value()
}

// Len returns how many bytes the secret has.
func (t Text) Len() int { return len(t.Reveal()) }

// ContainsFunc reports whether a function is true of any character of the secret.
func (t Text) ContainsFunc(f func(rune) bool) bool { return strings.ContainsFunc(t.Reveal(), f) }

// IsZero reports whether the secret is empty.
func (t Text) IsZero() bool { return t == Text{} }

// Format writes [redacted] for every verb.
func (t Text) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// String returns [redacted].
func (t Text) String() string { return redacted }

// MarshalText returns [redacted]; JSON and slog's handlers use it.
func (t Text) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText takes a secret from a flag or a variable.
func (t *Text) UnmarshalText(text []byte) error {
	*t = New(string(text))
	return nil
}
