package engine

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/client"

	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
)

// SaveImage writes an image that the engine has as an archive.
func (e *Engine) SaveImage(ctx context.Context, reference string, w io.Writer) error {
	if _, err := e.api.ImageInspect(ctx, reference); errdefs.IsNotFound(err) {
		return spec.Errorf(spec.NotFound, "cannot save image %s: the engine does not have it", reference).
			WithHint("docker image ls shows what it has")
	}
	archive, err := e.api.ImageSave(ctx, []string{reference})
	if err != nil {
		return e.failed("save image "+reference, err)
	}
	if _, err := io.Copy(w, archive); err != nil {
		return errors.Join(e.failed("save image "+reference, err), archive.Close())
	}
	return archive.Close()
}

// LoadImage gives the engine the images of an archive and returns their names. An archive that
// is broken, or for another architecture, is refused before that.
func (e *Engine) LoadImage(ctx context.Context, file string) ([]string, error) {
	images, configs, err := readArchive(file)
	if err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot read the image archive %q: %w", file, err).WithHint(archiveHint)
	}
	info, err := e.api.Info(ctx)
	if err != nil {
		return nil, e.failed("ask for the engine's properties", err)
	}
	var names []string
	for _, i := range images {
		c := configs[i.Config]
		if d, wrong := wrongArchitecture(info, c.OS, c.Architecture, "the image in "+filepath.Base(file)); wrong {
			return nil, refuse([]spec.Diagnostic{d})
		}
		names = append(names, i.RepoTags...)
	}
	return names, e.loadArchive(ctx, file)
}

const archiveHint = "it is a file as `millwright image save` or `docker save` writes it; get it again, and compare its checksum"

func (e *Engine) loadArchive(ctx context.Context, file string) error {
	archive, err := os.Open(file)
	if err != nil {
		return spec.Errorf(spec.Invalid, "cannot read the image archive %q: %w", file, err)
	}
	defer archive.Close() //nolint:errcheck // it was only read
	answer, err := e.api.ImageLoad(ctx, archive, client.ImageLoadWithQuiet(true))
	if err == nil {
		err = errors.Join(progressError(answer.Body), answer.Body.Close())
	}
	switch {
	case err != nil && strings.Contains(err.Error(), noSpace):
		return spec.Errorf(spec.Unavailable, "cannot load the image archive %q: %w", file, err).
			WithHint(spaceHint)
	case err != nil:
		return spec.Errorf(spec.Invalid, "cannot load the image archive %q: %w", file, err).
			WithHint(archiveHint)
	}
	return nil
}

// What an engine says whose disk is full, and what helps.
const (
	noSpace   = "no space left on device"
	spaceHint = "free space on the engine's disk: docker system df says what takes it"
)

// archived is what an image archive says of its image.
type archived struct {
	Config   string   `json:"Config"`
	RepoTags []string `json:"RepoTags"`
}

// checkArchive finds a broken archive, or one of something else, before anything is touched.
func (e *Engine) checkArchive(p *Pass, found *[]spec.Diagnostic) {
	file, reference := p.given.ImageArchive, p.desired.Image.Reference
	images, configs, err := readArchive(file)
	if err != nil {
		*found = append(*found, failure("archive", fmt.Sprintf("cannot read the image archive %q: %s", file, err), archiveHint))
		return
	}
	var tags []string
	for _, i := range images {
		tags = append(tags, i.RepoTags...)
		if !slices.Contains(i.RepoTags, reference) {
			continue
		}
		config := configs[i.Config]
		e.checkArchitecture(p, config.OS, config.Architecture, "the image in "+filepath.Base(file), found)
		p.desired.Image.Format = config.Config.Labels[render.LabelDataFormat]
		if namesByConfig(p.info) {
			p.desired.Image.ID = config.id
		}
		return
	}
	*found = append(*found, failure("archive", fmt.Sprintf("the image archive %q holds %s, not %s", file, strings.Join(tags, ", "), reference),
		"set version (or image) to what it holds, or give the archive of that version"))
}

// namesByConfig reports whether the engine's ids of images are the digests of their
// configurations: not where containerd keeps them.
func namesByConfig(info system.Info) bool {
	return !slices.ContainsFunc(info.DriverStatus, func(s [2]string) bool { return strings.HasPrefix(s[1], "io.containerd.") })
}

// platform is what an image's configuration says of where it runs.
type platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Config       struct {
		Labels map[string]string `json:"Labels"`
	} `json:"config"`
	id string // digest of the configuration
}

// readArchive reads an archive to its end, as it will have to be read to be loaded.
func readArchive(file string) ([]archived, map[string]platform, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	var source io.Reader = f
	if unpacked, err := gzip.NewReader(f); err == nil {
		source = unpacked
	} else if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, nil, err
	}
	var images []archived
	configs := map[string]platform{}
	for files := tar.NewReader(source); ; {
		header, err := files.Next()
		switch {
		case errors.Is(err, io.EOF) && images == nil:
			return nil, nil, errors.New("it has no manifest.json")
		case errors.Is(err, io.EOF):
			return images, configs, nil
		case err != nil:
			return nil, nil, err
		}
		if err := readEntry(header, files, &images, configs); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", header.Name, err)
		}
	}
}

const maxConfig = 1 << 20

// readEntry reads the manifest, and what may be an image's configuration: a small JSON file.
func readEntry(header *tar.Header, r io.Reader, images *[]archived, configs map[string]platform) error {
	name := path.Clean(header.Name)
	if name == "manifest.json" {
		return json.NewDecoder(r).Decode(images)
	}
	if header.Typeflag != tar.TypeReg || header.Size > maxConfig {
		return nil
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	var p platform
	if json.Unmarshal(text, &p) == nil && p.OS != "" {
		p.id = fmt.Sprintf("sha256:%x", sha256.Sum256(text))
		configs[name] = p
	}
	return nil
}
