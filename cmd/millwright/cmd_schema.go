package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/commissioning/stack"
)

// The kinds of files that there is a schema of.
const (
	schemaCommissioning = "commissioning"
	schemaStack         = "stack"
)

func newSchemaCommand(s *streams) *cobra.Command {
	return &cobra.Command{
		Use:   "schema [commissioning | stack]",
		Short: "Print the JSON Schema of commissioning or stack files, for editors",
		Example: `  millwright schema > millwright.schema.json
  millwright schema stack > stack.schema.json
  # first line of a file: # yaml-language-server: $schema=./millwright.schema.json`,
		Args: between(0, 1, "[commissioning | stack]"),
		RunE: func(_ *cobra.Command, args []string) error {
			kind := schemaCommissioning
			if len(args) > 0 {
				kind = args[0]
			}
			return runSchema(kind, s)
		},
	}
}

func runSchema(kind string, s *streams) error {
	if err := oneOf("schema", kind, schemaCommissioning, schemaStack); err != nil {
		return err
	}
	of := commissioning.JSONSchema
	if kind == schemaStack {
		of = stack.JSONSchema
	}
	schema, err := of()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%s\n", schema)
	return err
}
