package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"example.com/podero-facade/server/secret"
)

func TestASecretIsPrintedNowhere(t *testing.T) {
	const plain = "hunter2"
	text := secret.New(plain)
	type holder struct {
		Exported   secret.Text
		unexported secret.Text
		Pointer    *secret.Text
	}
	held := holder{text, text, &text}
	var written []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T", "%p"} {
		for _, value := range []any{text, &text, held, &held, []secret.Text{text}, map[string]secret.Text{"a": text}} {
			written = append(written, fmt.Sprintf(verb, value))
		}
	}
	encoded, err := json.Marshal(held)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "a", text, "b", held, "c", &held)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "a", text, "b", held, "c", &held)
	written = append(written, string(encoded), log.String(), text.String(), fmt.Sprint(fmt.Errorf("wrap: %v", text)))
	for _, line := range written {
		if strings.Contains(line, plain) || strings.Contains(line, fmt.Sprintf("%x", plain)) {
			t.Errorf("printed in %q", line)
		}
	}
	if !strings.Contains(log.String(), "[redacted]") {
		t.Errorf("log %s", log.String())
	}
}

func TestSecretsAreEqualWhenTheirTextsAre(t *testing.T) {
	a, b, c := secret.New("a"+strings.Repeat("x", 3)), secret.New("axxx"), secret.New("b")
	if a != b || a == c || a.Reveal() != "axxx" {
		t.Error("equality or Reveal")
	}
	var zero secret.Text
	if !zero.IsZero() || zero != secret.New("") || zero.Reveal() != "" || a.IsZero() {
		t.Error("the zero Text is not the empty one")
	}
}
