package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/millwright/millwright/internal/commissioning"
)

func newSchemaCommand(s *streams) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of commissioning files, for editors",
		Example: `  millwright schema > millwright.schema.json
  # first line of a file: # yaml-language-server: $schema=./millwright.schema.json`,
		Args: exactly(),
		RunE: func(*cobra.Command, []string) error { return runSchema(s) },
	}
}

func runSchema(s *streams) error {
	schema, err := commissioning.JSONSchema()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%s\n", schema)
	return err
}
