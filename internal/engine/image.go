package engine

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/api/types/system"

	"github.com/millwright/millwright/internal/spec"
)

// CodeImageMissing is the code of the diagnostic that the image is not there, may not be pulled,
// and no archive was given.
const CodeImageMissing = "image-missing"

// resolveImage finds the image's id, and how to get one that is missing. What makes that
// impossible is added to found.
func (e *Engine) resolveImage(ctx context.Context, p *Pass, found *[]spec.Diagnostic) error {
	want := &p.desired.Image
	if p.Instance.State != spec.Started {
		return nil
	}
	have, err := e.api.ImageInspect(ctx, want.Reference)
	switch {
	case err == nil:
		want.ID, want.Format = have.ID, formatOf(have)
		e.checkArchitecture(p, have.Os, have.Architecture, "the image "+want.Reference, found)
		if p.Instance.Pull == spec.PullAlways {
			return e.checkRegistry(ctx, p, have.RepoDigests, found)
		}
	case !errdefs.IsNotFound(err):
		return e.failed("look at image "+want.Reference, err)
	case p.given.ImageArchive != "":
		want.Missing, want.Source = true, "it is loaded from "+p.given.ImageArchive
		e.checkArchive(p, found)
	case p.Instance.Pull == spec.PullNever:
		*found = append(*found, failure(CodeImageMissing, fmt.Sprintf("the engine does not have the image %s, and pull is never", want.Reference),
			"give image_archive, or load it: millwright image load FILE"))
	default:
		want.Missing, want.Source = true, "it is pulled"
	}
	for i := range p.desired.Containers {
		p.desired.Containers[i].ImageID = want.ID
		if want.ID == "" {
			p.desired.Containers[i].ImageID = "(" + want.Reference + ", not there yet)"
		}
	}
	return nil
}

// checkRegistry marks the image as stale where the registry has another one.
func (e *Engine) checkRegistry(ctx context.Context, p *Pass, digests []string, found *[]spec.Diagnostic) error {
	auth, err := login(p.given.Registry)
	if err != nil {
		return err
	}
	for i := range p.desired.Containers {
		p.desired.Containers[i].ImageID = p.desired.Image.ID
	}
	reference := p.desired.Image.Reference
	there, err := e.api.DistributionInspect(ctx, reference, auth)
	if err != nil {
		refused := registryError("ask the registry for", reference, p.given.Registry, err)
		*found = append(*found, failure("registry", refused.Message, refused.Hint+"; with pull: missing the image that is there is used"))
		return nil
	}
	if slices.ContainsFunc(digests, func(d string) bool { return strings.HasSuffix(d, "@"+there.Descriptor.Digest.String()) }) {
		return nil
	}
	p.desired.Image.Stale, p.desired.Image.Source = true, "it is pulled"
	for i := range p.desired.Containers {
		p.desired.Containers[i].ImageID = "(" + there.Descriptor.Digest.String() + ", not there yet)"
	}
	return nil
}

// architectures by the names that the engine's kernel has for them.
func architecture(kernel string) string {
	switch kernel {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	}
	return kernel
}

func (e *Engine) checkArchitecture(p *Pass, os, arch, what string, found *[]spec.Diagnostic) {
	if d, wrong := wrongArchitecture(p.info, os, arch, what); wrong {
		*found = append(*found, d)
	}
}

func wrongArchitecture(info system.Info, os, arch, what string) (spec.Diagnostic, bool) {
	host := architecture(info.Architecture)
	if os == info.OSType && arch == host {
		return spec.Diagnostic{}, false
	}
	return failure("architecture", fmt.Sprintf("%s is for %s/%s, and the engine runs %s/%s", what, os, arch, info.OSType, host),
		fmt.Sprintf("take the one for %s/%s", info.OSType, host)), true
}

// fetchImage loads or pulls the image and makes sure that it is the one that was asked for.
func (e *Engine) fetchImage(ctx context.Context, p *Pass) error {
	reference := p.desired.Image.Reference
	var err error
	if p.given.ImageArchive != "" && !p.desired.Image.Stale {
		err = e.loadArchive(ctx, p.given.ImageArchive)
	} else {
		err = e.pull(ctx, reference, p.given.Registry)
	}
	if err != nil {
		return err
	}
	have, err := e.api.ImageInspect(ctx, reference)
	if err != nil {
		return e.failed("find image "+reference+" after it was fetched", err)
	}
	var found []spec.Diagnostic
	e.checkArchitecture(p, have.Os, have.Architecture, "the image "+reference, &found)
	p.desired.Image.ID, p.desired.Image.Format = have.ID, formatOf(have)
	return refuse(found)
}

func (e *Engine) pull(ctx context.Context, reference string, r *spec.Registry) error {
	auth, err := login(r)
	if err != nil {
		return err
	}
	progress, err := e.api.ImagePull(ctx, reference, image.PullOptions{RegistryAuth: auth})
	if err == nil {
		err = errors.Join(progressError(progress), progress.Close())
	}
	if err != nil {
		return registryError("pull image", reference, r, err)
	}
	return nil
}

// registryError tells why a registry does not give an image. Engines differ in the status with
// which they pass a registry's answer on; its words are the same.
func registryError(what, reference string, r *spec.Registry, err error) *spec.Error {
	says := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(strings.ToLower(err.Error()), w) })
	}
	denied := says("no basic auth", "unauthorized", "authentication required", "denied")
	switch {
	case denied && (r == nil || r.Username == ""):
		return spec.Errorf(spec.Unauthorised, "cannot %s %s: the registry wants to know who asks, or has no such image", what, reference).
			WithHint("give registry.username and registry.password")
	case denied:
		return spec.Errorf(spec.Unauthorised, "cannot %s %s: the registry refuses user %q, or has no such image", what, reference, r.Username).
			WithHint("see registry.username and registry.password, and what that user may read")
	case says("manifest unknown", "not found", "name unknown"):
		return spec.Errorf(spec.NotFound, "cannot %s %s: the registry has no such image", what, reference).
			WithHint("see that image and version are right")
	case says(noSpace):
		return spec.Errorf(spec.Unavailable, "cannot %s %s: %w", what, reference, err).WithHint(spaceHint)
	}
	return spec.Errorf(spec.Unavailable, "cannot %s %s: %w", what, reference, err).
		WithHint("see that the engine reaches the registry, or give image_archive: it needs none")
}

// login writes a registry's user as the engine wants it; empty: none.
func login(r *spec.Registry) (string, error) {
	if r == nil || r.Username == "" {
		return "", nil
	}
	text, err := json.Marshal(registry.AuthConfig{Username: r.Username, Password: r.Password, ServerAddress: r.Server})
	if err != nil {
		return "", spec.Errorf(spec.Internal, "cannot log in to the registry: %w", err)
	}
	return base64.URLEncoding.EncodeToString(text), nil
}

// progressError reads the engine's messages to their end; an error is one of them.
func progressError(r io.Reader) error {
	for d := json.NewDecoder(r); ; {
		var message struct {
			Error string `json:"error"`
		}
		err := d.Decode(&message)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case message.Error != "":
			return errors.New(message.Error)
		}
	}
}
