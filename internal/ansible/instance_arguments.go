package ansible

import (
	"context"
	"log/slog"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/engine"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// What is said of an archive that lies on the controller.
const (
	askFor  = "ask"      // whether it is needed; if not, the task is done
	askOnly = "ask only" // whether it is needed, and nothing more
)

// instance is what the arguments declare.
func (t *task) instance() (spec.Instance, error) {
	if t.args.flag("allow_containers") {
		return spec.Instance{}, spec.Errorf(spec.Invalid, "cannot let services run containers: this version has no part that could").
			WithHint("leave allow_containers out")
	}
	given := maps.Clone(t.args)
	for _, own := range []string{"remote_src", "allow_containers", "license", "max_disturbance"} {
		delete(given, own)
	}
	if _, ok := t.args["license"]; ok {
		t.warn("license is ignored: Millwright needs none")
	}
	t.noteProxies()
	i, err := spec.DecodeInstance(given)
	if err != nil {
		return i, err
	}
	for option, path := range map[string]*string{"install_path": &i.InstallPath, "backup_path": &i.BackupPath} {
		if *path, err = t.fromPlaybook(option, *path); err != nil {
			return i, err
		}
	}
	return i, nil
}

// fromPlaybook makes an option's path absolute that counts from the playbook.
func (t *task) fromPlaybook(option, path string) (string, error) {
	if path == "" || filepath.IsAbs(path) {
		return path, nil
	}
	dir, ok := t.given[keyPlaybook].(string)
	if !ok {
		return "", spec.Errorf(spec.Invalid, "cannot use %s %q on the target: a relative one counts from the playbook, which is on the controller", option, path).
			WithHint("give an absolute one")
	}
	return filepath.Join(dir, path), nil
}

// noteProxies has passwords of proxies masked, which are refused.
func (t *task) noteProxies() {
	proxies, _ := t.args["proxy"].(map[string]any) // not given is none
	for _, v := range proxies {
		address, _ := v.(string)
		if u, err := url.Parse(address); err == nil && u.User != nil {
			if password, ok := u.User.Password(); ok {
				t.secrets.add(password)
			}
		}
	}
}

// archive settles where the image's archive is: on the target, on its way there, or sent.
func (t *task) archive(i *spec.Instance) (asked string, err error) {
	if i.ImageArchive == "" || t.args.flag("remote_src") {
		return "", nil
	}
	said, ok := t.given[keyArchive].(map[string]any)
	if !ok {
		return "", spec.Errorf(spec.Internal, "cannot have the image_archive sent: the action plugin and this program are not of one version")
	}
	sent, _ := said["sent"].(string)
	if sent != "" {
		t.renamed = append(t.renamed, sent, i.ImageArchive)
	}
	i.ImageArchive = sent
	asked, _ = said["ask"].(string)
	return asked, nil
}

// needsImage reports whether the engine lacks the image.
func needsImage(p *engine.Pass) bool {
	images := plan.InstanceAddress(p.Instance.Name) + "/" + plan.KindImage + "/"
	return slices.ContainsFunc(p.Plan.Steps, func(s plan.Step) bool { return s.Symbol == plan.Create && strings.HasPrefix(s.Address, images) }) ||
		slices.ContainsFunc(p.Plan.Diagnostics, func(d spec.Diagnostic) bool { return d.Code == engine.CodeImageMissing })
}

// logger has what is logged as a warning told as one.
func (t *task) logger() *slog.Logger { return slog.New(warner{task: t}) }

// warner is the handler of a task's logger.
type warner struct {
	task       *task
	attributes []slog.Attr
}

func (w warner) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

func (w warner) Handle(_ context.Context, r slog.Record) error {
	var details []string
	note := func(a slog.Attr) bool {
		details = append(details, a.Key+": "+a.Value.String())
		return true
	}
	for _, a := range w.attributes {
		note(a)
	}
	r.Attrs(note)
	text := r.Message
	if len(details) > 0 {
		text += " (" + strings.Join(details, ", ") + ")"
	}
	w.task.warn(text)
	return nil
}

func (w warner) WithAttrs(more []slog.Attr) slog.Handler {
	return warner{w.task, slices.Concat(w.attributes, more)}
}

func (w warner) WithGroup(string) slog.Handler { return w }
