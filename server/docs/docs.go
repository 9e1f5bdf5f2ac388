// Package docs is the page at /docs to read and try the REST API in a browser.
package docs

import (
	"embed"
	"net/http"
	"strconv"

	"example.com/podero-facade/server/gateway"
)

//go:embed page
var files embed.FS

// policy lets the page load what lies beside it and call the API, and nothing else. It makes no HTML of texts.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// Pages returns the page and what belongs to it, by path. They refer to one another and to /openapi.json by relative
// URLs, so that they work under any prefix.
func Pages() (map[string]gateway.Page, error) {
	pages := map[string]gateway.Page{"/docs/": withoutSlash}
	for _, f := range []struct{ path, name, mediaType string }{
		{"/docs", "page/index.html", "text/html; charset=utf-8"},
		{"/docs/page.css", "page/page.css", "text/css; charset=utf-8"},
		{"/docs/page.js", "page/page.js", "text/javascript; charset=utf-8"},
	} {
		content, err := files.ReadFile(f.name)
		if err != nil {
			return nil, err
		}
		pages[f.path] = serve(f.mediaType, content)
	}
	return pages, nil
}

// withoutSlash redirects to the page, whose relative URLs mean something else under a path that ends with a slash.
func withoutSlash(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Location", "../docs")
	w.WriteHeader(http.StatusPermanentRedirect)
	return nil
}

func serve(mediaType string, content []byte) gateway.Page {
	return func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Content-Type", mediaType)
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = w.Write(content)
		return nil
	}
}
