package telemetry

import (
	"io"
	"log/slog"
)

// The formats of a log.
const (
	LogJSON = "json"
	LogText = "text"
)

// NewLogger returns a logger that writes to w in the given format.
func NewLogger(w io.Writer, format string, level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == LogText {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}
