package main

import (
	"context"

	"github.com/millwright/millwright/internal/commissioning/stack"
	"github.com/millwright/millwright/internal/spec"
)

// loadInstance is the stack's instance with the texts that lie elsewhere; nil if it has none.
func (in *input) loadInstance(ctx context.Context, declared *stack.Stack) (*spec.Instance, []spec.Diagnostic, error) {
	i, found := declared.LoadInstance(stackSources(ctx, in.sources))
	if i == nil {
		return nil, found, nil
	}
	i, err := absolutePaths(*i)
	return i, found, err
}

// absolutePaths makes an instance's paths those that they are on this host.
func absolutePaths(i spec.Instance) (*spec.Instance, error) {
	for _, path := range []struct {
		name  string
		value *string
	}{{"install_path", &i.InstallPath}, {"image_archive", &i.ImageArchive}, {"backup_path", &i.BackupPath}} {
		var err error
		if *path.value, err = absolutePath(path.name, *path.value); err != nil {
			return nil, err
		}
	}
	return &i, nil
}

// fingerprintArchive has a plan file recognise the image that may be loaded.
func (in *input) fingerprintArchive() error {
	if in.instance == nil || in.instance.ImageArchive == "" {
		return nil
	}
	return in.sources.archive(in.instance.ImageArchive)
}
