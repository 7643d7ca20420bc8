package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/render"
	"github.com/millwright/millwright/internal/spec"
)

// maxSecret bounds what is read of one secret.
const maxSecret = 1 << 20

// adminAppliedFile, in control's volume, holds the label of the given admin's password while that
// is the admin's.
const adminAppliedFile = "admin-password.applied"

// observeSecrets reads the secrets through a container that mounts their volume: the record's,
// or where that was removed any other. Where nothing is given to compare with and the volume
// was filled before, they are taken to be there: nothing but us and the engine's administrator
// can write them.
func (e *Engine) observeSecrets(ctx context.Context, p *Pass) error {
	if !slices.Contains(p.actual.Volumes, render.SecretsVolume(p.Instance.Name)) {
		return nil
	}
	if p.settledSecrets() {
		p.actual.Secrets = p.desired.Secrets
		return nil
	}
	source := p.actual.recordID
	for _, c := range p.actual.Containers {
		if source == "" && mountsSecrets(c) {
			source = c.ID
		}
	}
	if source == "" {
		return nil // they are looked at, and completed, when there is one again
	}
	have, err := e.readSecrets(ctx, source)
	if err != nil {
		return err
	}
	p.actual.Secrets = have
	return e.observeAdmin(ctx, p)
}

func mountsSecrets(c plan.Container) bool {
	return slices.ContainsFunc(c.Mounts, func(m plan.Mount) bool { return m.Target == render.SecretsDir })
}

// settledSecrets reports whether no secret is given, and every part's are there since the last pass.
func (p *Pass) settledSecrets() bool {
	if p.actual.recordID == "" || p.actual.Spec == nil || len(p.given.Secrets()) > 0 {
		return false
	}
	return slices.Equal(p.actual.Spec.Parts(), p.Instance.Parts()) &&
		p.actual.Spec.TrustedCA == p.Instance.TrustedCA && p.actual.Spec.Certificate == p.Instance.Certificate
}

func (e *Engine) readSecrets(ctx context.Context, id string) ([]plan.Secret, error) {
	stream, _, err := e.api.CopyFromContainer(ctx, id, render.SecretsDir)
	if err != nil {
		return nil, e.failed("read the secrets", err)
	}
	defer stream.Close() //nolint:errcheck // it was only read
	var found []plan.Secret
	for files := tar.NewReader(stream); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, e.failed("read the secrets", err)
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		content, err := io.ReadAll(io.LimitReader(files, maxSecret))
		if err != nil {
			return nil, e.failed("read the secrets", err)
		}
		_, name, _ := strings.Cut(header.Name, "/") // the folder's own name comes first
		found = append(found, plan.Secret{Name: name, Content: content})
	}
}

// writeAdmin gives the admin's password another label, by which control makes it the admin's, where
// it differs or is not in force.
func (p *Pass) writeAdmin() (plan.Secret, bool) {
	given := p.Instance.AdminPassword
	if given == nil {
		return plan.Secret{}, false
	}
	have, ok := secretNamed(p.actual.Secrets, render.SecretAdminPassword)
	settled := ok && string(have.Content) == *given && have.Outdated == ""
	return plan.Secret{Name: render.SecretAdminLabel, Content: []byte(credential.Generate(""))}, !settled
}

// observeAdmin marks a given admin's password that is in the secrets and not in force. Control
// says by its label, in its own volume, that it is, and is only read where it has a container.
func (e *Engine) observeAdmin(ctx context.Context, p *Pass) error {
	i := slices.IndexFunc(p.actual.Secrets, func(s plan.Secret) bool { return s.Name == render.SecretAdminPassword })
	if p.Instance.AdminPassword == nil || i < 0 {
		return nil
	}
	label, labelled := secretNamed(p.actual.Secrets, render.SecretAdminLabel)
	if !labelled {
		p.actual.Secrets[i].Outdated = "is given, and no longer that of the first start alone"
		return nil
	}
	if !slices.ContainsFunc(p.actual.Containers, func(c plan.Container) bool { return c.Part == spec.PartControl }) {
		p.actual.Secrets[i].Outdated = "may not be the admin's any more: control is not there to say"
		return nil
	}
	applied, err := e.readFile(ctx, p.Instance.Name+"-"+spec.PartControl+"-1", path.Join(render.DataDir, adminAppliedFile))
	switch {
	case spec.KindOf(err) == spec.NotFound: // an older control, or one that never came up
		return nil
	case err != nil:
		return err
	case strings.TrimSpace(applied) != string(label.Content):
		p.actual.Secrets[i].Outdated = "is not the admin's any more"
	}
	return nil
}

func secretNamed(all []plan.Secret, name string) (plan.Secret, bool) {
	i := slices.IndexFunc(all, func(s plan.Secret) bool { return s.Name == name })
	if i < 0 {
		return plan.Secret{}, false
	}
	return all[i], true
}

// fillSecrets writes the secrets that are given and makes those that nobody gives, once.
func (a *application) fillSecrets(ctx context.Context, p *Pass) error {
	if p.actual.recordID == "" {
		if err := a.makeRecord(ctx, p); err != nil {
			return err
		}
	}
	have, err := a.readSecrets(ctx, p.actual.recordID)
	if err != nil {
		return err
	}
	var write []plan.Secret
	for _, s := range p.desired.Secrets {
		exists := slices.ContainsFunc(have, func(h plan.Secret) bool { return h.Name == s.Name && len(h.Content) > 0 }) && !s.Renewed(p.actual.Deployment)
		switch {
		case s.Content != nil:
			write = append(write, s)
		case !exists && s.Name == render.SecretPrivateKey:
			return spec.Errorf(spec.Invalid, "cannot use the certificate that was applied before: its private key is gone").
				WithHint("give certificate and private_key again")
		case !exists:
			write = append(write, plan.Secret{Name: s.Name, Content: []byte(credential.Generate(""))})
		}
	}
	label, labels := p.writeAdmin()
	if labels {
		write = append(write, label)
	}
	content, err := secretsArchive(write)
	if err != nil {
		return err
	}
	if err := a.api.CopyToContainer(ctx, p.actual.recordID, render.SecretsDir, content, container.CopyToContainerOptions{}); err != nil {
		return a.failed("write the secrets", err)
	}
	if !labels {
		return nil
	}
	return a.restartControl(ctx, p)
}

// restartControl starts control again, which takes a given admin's password over only then,
// unless the plan does so anyway.
func (a *application) restartControl(ctx context.Context, p *Pass) error {
	for _, c := range p.actual.Containers {
		if c.Part == spec.PartControl && c.Running && !planned(p.Plan, c.Part) {
			return a.restart(ctx, c)
		}
	}
	return nil
}

func planned(p plan.Plan, part string) bool {
	return slices.ContainsFunc(p.Steps, func(s plan.Step) bool {
		kind, name := childOf(s.Address)
		return kind == plan.KindContainer && name == part
	})
}

// secretsArchive packs the secrets, readable for the image's user alone.
func secretsArchive(secrets []plan.Secret) (io.Reader, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	made := map[string]bool{}
	for _, s := range secrets {
		if dir := path.Dir(s.Name); dir != "." && !made[dir] {
			made[dir] = true
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o700, Uid: render.UserID, Gid: render.UserID}); err != nil {
				return nil, spec.Errorf(spec.Internal, "cannot pack the secrets: %w", err)
			}
		}
		header := &tar.Header{Name: s.Name, Mode: 0o400, Size: int64(len(s.Content)), Uid: render.UserID, Gid: render.UserID}
		if err := w.WriteHeader(header); err != nil {
			return nil, spec.Errorf(spec.Internal, "cannot pack the secrets: %w", err)
		}
		if _, err := w.Write(s.Content); err != nil {
			return nil, spec.Errorf(spec.Internal, "cannot pack the secrets: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot pack the secrets: %w", err)
	}
	return &b, nil
}

// makeRecord makes the container that mounts the secrets and is never started. It says nothing
// of what was applied until keepRecord replaces it.
func (e *Engine) makeRecord(ctx context.Context, p *Pass) error {
	labels := map[string]string{render.LabelInstance: p.Instance.Name, labelRole: roleRecord}
	id, err := e.createRecord(ctx, p, recordName(p.Instance.Name), labels)
	p.actual.recordID = id
	return err
}

func (e *Engine) createRecord(ctx context.Context, p *Pass, name string, labels map[string]string) (string, error) {
	config := &container.Config{Image: e.nameOf(ctx, p.desired.Image.Reference, p.desired.Image.ID), Cmd: []string{"version"}, Labels: labels, User: p.desired.Containers[0].User}
	host := &container.HostConfig{
		NetworkMode: "none",
		Mounts:      []mount.Mount{{Type: mount.TypeVolume, Source: render.SecretsVolume(p.Instance.Name), Target: render.SecretsDir}},
	}
	made, err := e.api.ContainerCreate(ctx, config, host, nil, nil, name)
	if err != nil {
		return "", e.failed("make container "+name, err)
	}
	return made.ID, nil
}

// keepRecord writes down what was applied: labels cannot change, so the container is made anew.
func (e *Engine) keepRecord(ctx context.Context, p *Pass) error {
	labels, err := appliedLabels(p.Instance)
	if err != nil {
		return err
	}
	labels[labelRole] = roleRecord
	name := recordName(p.Instance.Name)
	next := name + suffixNext
	if err := e.removeContainer(ctx, next); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	id, err := e.createRecord(ctx, p, next, labels)
	if err != nil {
		return err
	}
	if err := e.removeContainer(ctx, name); err != nil {
		return err
	}
	if err := e.api.ContainerRename(ctx, id, name); err != nil {
		return e.failed("rename container "+next+" to "+name, err)
	}
	p.actual.recordID = id
	return nil
}
