package ansible

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/spec"
)

// Collection is the collection's qualified name.
const Collection = "millwright.shopfloor"

// The keys that Ansible, and the collection's action plugins, put beside the arguments.
const (
	internalPrefix = "_ansible_"
	keyModule      = "_ansible_module_name"
	keyCheck       = "_ansible_check_mode"
	keyDiff        = "_ansible_diff"
	// keyFiles holds files that the action plugin read on the controller, by option: name
	// and content in base64.
	keyFiles = "_ansible_millwright_files"
	// keyEnvironment holds the task's environment, which thus is in no command line.
	keyEnvironment = "_ansible_millwright_environment"
	// keyPlaybook is the playbook's folder, where the target is the controller itself.
	keyPlaybook = "_ansible_millwright_playbook_dir"
	// keyArchive says where an image archive of the controller is.
	keyArchive = "_ansible_millwright_archive"
	// keyExpected lists the instances that earlier tasks would bring up, in check mode.
	keyExpected = "_ansible_millwright_expected"
)

// The keys of a result that are for the action plugin alone.
const (
	resultNeeds    = "millwright_needs"
	resultExpected = "millwright_expected"
)

// Call is one run of a module.
type Call struct {
	Arguments []byte // JSON, as Ansible gives them
	Module    string // used if the arguments do not name the module
	Version   string // of this program
	Getenv    func(string) string
	Setenv    func(name, value string) error
}

// task is a call whose arguments are checked.
type task struct {
	call     Call
	module   *Module
	given    map[string]any // with the keys of Ansible's own
	args     arguments
	files    map[string]file
	check    bool
	diff     bool
	client   *client.Client
	loggedIn bool // by a password, for this task
	result   map[string]any
	warnings []string
	expected []string // addresses of what earlier tasks would make, in check mode
	empty    bool     // the instance would be made by an earlier task: it holds nothing yet
	secrets  secrets
	renamed  []string // texts of the result and what stands there instead, in turn
}

// file is one that was read on the controller.
type file struct {
	name string
	text []byte
}

// Fail writes the result of a call that cannot even begin, and returns the exit code.
func Fail(err error, out io.Writer) int {
	t := &task{result: map[string]any{"changed": false}}
	t.fail(err)
	return write(t.finished(), out)
}

// Run carries one call out and writes its result to out: exactly one JSON object. It returns
// the exit code, 0 or 1. Every failure, a panic too, is a result with "failed": true.
func Run(ctx context.Context, call Call, out io.Writer) int {
	return write(outcome(ctx, call), out)
}

func write(result map[string]any, out io.Writer) int {
	text, err := json.Marshal(result)
	if err != nil {
		text = []byte(`{"failed": true, "msg": "cannot encode the result"}`)
	}
	if _, err := fmt.Fprintf(out, "%s\n", text); err != nil || result["failed"] == true {
		return 1
	}
	return 0
}

func outcome(ctx context.Context, call Call) (result map[string]any) {
	t := &task{call: call, result: map[string]any{"changed": false}}
	defer func() {
		if reason := recover(); reason != nil {
			t.fail(spec.Errorf(spec.Internal, "the module failed: %v", reason))
			t.result["exception"] = string(debug.Stack())
		}
		result = t.finished()
	}()
	if err := t.run(ctx); err != nil {
		t.fail(err)
	}
	return nil
}

func (t *task) run(ctx context.Context) error {
	given, err := t.read()
	if err != nil {
		return err
	}
	if err := t.setEnvironment(given[keyEnvironment]); err != nil {
		return err
	}
	args, warnings, err := t.module.check(given)
	t.warn(warnings...)
	if err != nil {
		return err
	}
	t.args = args
	t.result["invocation"] = map[string]any{"module_args": shown(t.module.options(), args)}
	if t.module.Connection {
		defer t.disconnect(ctx)
		planned, err := t.reach(ctx)
		if err != nil || !planned {
			return err
		}
	}
	return t.module.run(ctx, t)
}

// reach connects to the instance. In check mode an earlier task may be what would bring it up:
// then there is nothing to connect to, and, where it holds data, nothing to plan against.
func (t *task) reach(ctx context.Context) (planned bool, err error) {
	e, ok, err := t.expectation()
	if err != nil || !ok {
		return true, errors.Join(err, t.connect(ctx))
	}
	if !e.New {
		t.warn(fmt.Sprintf("cannot plan this: an earlier task would start instance %q, and what it holds is known only then", e.Name))
	}
	t.empty = true
	return e.New || t.module.ReadOnly, t.checkTimes()
}

// read decodes what Ansible gives, finds the module, and notes the secrets before anything
// else can be said about them.
func (t *task) read() (map[string]any, error) {
	given, err := decodeObject(t.call.Arguments)
	if err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot read the module's arguments: they are no JSON object")
	}
	if nested, ok := given["ANSIBLE_MODULE_ARGS"].(map[string]any); ok {
		given = nested
	}
	name, _ := given[keyModule].(string) // not given is ""
	module, ok := moduleNamed(name)
	if !ok {
		module, ok = moduleNamed(t.call.Module)
	}
	if !ok {
		return nil, spec.Errorf(spec.Invalid, "cannot run module %q: this program holds %s", name, strings.Join(names(), ", ")).
			WithHint("it is run by the action plugins of the collection %s", Collection)
	}
	t.module, t.given = module, given
	t.noteSecret(module.options(), given)
	t.check, t.diff = given[keyCheck] == true, given[keyDiff] == true
	t.files, err = filesOf(given[keyFiles])
	return given, err
}

// noteSecret has what is given for the options that are secret masked.
func (t *task) noteSecret(options []Option, given map[string]any) {
	for _, o := range options {
		for _, name := range append([]string{o.Name}, o.Aliases...) {
			if o.NoLog {
				t.secrets.add(given[name])
			}
			if inner, err := toDict(given[name]); err == nil { // else it is refused
				t.noteSecret(o.Options, inner)
			}
		}
	}
}

// setEnvironment sets the variables that the task gives, for this process.
func (t *task) setEnvironment(v any) error {
	variables, _ := v.(map[string]any) // not given is none
	for name, value := range variables {
		text, err := toText(value)
		if err != nil {
			return err
		}
		if err := t.call.Setenv(name, text); err != nil {
			return spec.Errorf(spec.Invalid, "cannot set the environment variable %q: %w", name, err)
		}
	}
	return nil
}

func names() []string {
	var list []string
	for _, m := range Modules() {
		list = append(list, m.Name)
	}
	return list
}

func lastPart(name string) string { return name[strings.LastIndex(name, ".")+1:] }

// filesOf decodes the files that the action plugin read.
func filesOf(v any) (map[string]file, error) {
	files := map[string]file{}
	given, ok := v.(map[string]any)
	if !ok {
		return files, nil
	}
	for option, v := range given {
		fields, _ := v.(map[string]any)            // then text is not given
		name, _ := fields["name"].(string)         // not given is ""
		content, isText := fields["text"].(string) // base64
		text, err := base64.StdEncoding.DecodeString(content)
		if err != nil || !isText {
			return nil, spec.Errorf(spec.Internal, "cannot decode the file of %s: the action plugin and this program are not of one version", option)
		}
		files[option] = file{name, text}
	}
	return files, nil
}

// warn notes what the user should see, once.
func (t *task) warn(texts ...string) {
	for _, text := range texts {
		if !slices.Contains(t.warnings, text) {
			t.warnings = append(t.warnings, text)
		}
	}
}

// shown is what a result repeats of the arguments.
func shown(options []Option, args arguments) map[string]any {
	all := map[string]any{}
	for _, o := range options {
		v, given := args[o.Name]
		switch {
		case !given:
			all[o.Name] = nil
		case o.NoLog || o.Hidden:
			all[o.Name] = masked
		default:
			all[o.Name] = v
		}
		if inner, ok := v.(map[string]any); ok && len(o.Options) > 0 {
			all[o.Name] = shown(o.Options, inner)
		}
	}
	return all
}

// finished is the result as it is printed, without secrets.
func (t *task) finished() map[string]any {
	if len(t.warnings) > 0 {
		t.result["warnings"] = t.warnings
	}
	result, err := plain(t.result)
	if err != nil {
		return map[string]any{"failed": true, "changed": t.result["changed"], "msg": err.Error()}
	}
	return t.secrets.ordered().mask(replaced(result, strings.NewReplacer(t.renamed...))).(map[string]any)
}

// options are the API's and the command line's words for what has another name in a task.
var options = strings.NewReplacer(
	"--max-disturbance", "max_disturbance:", `--adopt ("adopt": true)`, "adopt: true", "--adopt", "adopt: true",
	`--allow-unsupported ("allow_unsupported": true)`, "allow_unsupported: true", "--allow-unsupported", "allow_unsupported: true",
	"--ca-path", "ca_path", "--url", "api_url", "--context", "context", "--token", "api_token",
)

// fail is the one place that turns an error into an Ansible failure.
func (t *task) fail(err error) {
	t.result["failed"] = true
	t.result["kind"] = string(spec.KindOf(err))
	lines := []string{err.Error()}
	var e *spec.Error
	if errors.As(err, &e) {
		if len(e.Diagnostics) > 0 {
			t.result["diagnostics"] = e.Diagnostics
			for _, d := range e.Diagnostics {
				lines = append(lines, d.String())
			}
		}
		if e.Hint != "" {
			lines = append(lines, "hint: "+options.Replace(e.Hint))
		}
	}
	t.result["msg"] = strings.Join(lines, "\n")
}
