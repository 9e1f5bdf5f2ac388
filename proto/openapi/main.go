// Command openapi writes to its standard output, as YAML, the OpenAPI document of the service as `demo` runs it.
package main

import (
	"bytes"
	"log"
	"os"

	"go.yaml.in/yaml/v3"

	"example.com/podero-facade/gen"
	"example.com/podero-facade/server/openapi"
)

func main() {
	files, err := gen.Files()
	if err != nil {
		log.Fatal(err)
	}
	document, err := openapi.New(files, openapi.Options{ServerURL: "http://127.0.0.1:8080"})
	if err != nil {
		log.Fatal(err)
	}
	var node yaml.Node // JSON is YAML
	if err := yaml.Unmarshal(document, &node); err != nil {
		log.Fatal(err)
	}
	block(&node)
	var text bytes.Buffer
	text.WriteString("# Written by tools/generate. Edit proto/ or server/openapi/ instead.\n")
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := encoder.Encode(&node); err != nil {
		log.Fatal(err)
	}
	if _, err := os.Stdout.Write(text.Bytes()); err != nil {
		log.Fatal(err)
	}
}

// block gives a node the style of YAML instead of that of JSON.
func block(node *yaml.Node) {
	if len(node.Content) > 0 || node.Kind == yaml.ScalarNode {
		node.Style = 0
	}
	for _, child := range node.Content {
		block(child)
	}
}
