package server

import "log/slog"

// logStart logs what is to be known of the configuration before anything happens.
func (c *Config) logStart(log *slog.Logger) {
	for _, warning := range c.Warnings() {
		log.Warn("configuration", "warning", warning)
	}
}
