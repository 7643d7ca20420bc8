package main

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/millwright/millwright/internal/engine"
)

// TestForeignBackupAndRestore takes an instance of the real image, with all that is declared on
// it, away and brings it back, as a user does.
func TestForeignBackupAndRestore(t *testing.T) {
	t.Parallel()
	p := newStackPlant(t)
	p.exits(1, []string{"backup", "--instance", "plant-a"}, `cannot back up instance "plant-a": there is none on this engine`)
	p.exits(0, []string{"apply", "plant-a.yaml", "--yes"}, "Applied: 19 added")
	before := p.containers()

	p.exits(3, []string{"backup", "--list", "--out", "x"}, "cannot use --list and --out together")
	p.exits(1, []string{"backup", "--instance", "plant-a", "--out", "no/such/folder/x"}, "cannot write the backup")
	p.exits(0, []string{"backup", "--instance", "plant-a", "--out", "plant.tar.gz"}, `Backed up instance "plant-a" to `, "It stood still for")
	p.exits(0, []string{"backup", "--instance", "plant-a"}, "plant-a_backup:plant-a_")
	p.untouched(before)
	p.unchanged()
	var list []engine.Saved
	p.decode(&list, "backup", "--instance", "plant-a", "--list", "-o", "json")
	if len(list) != 1 || list[0].Volume != "plant-a_backup" || list[0].Size == 0 || list[0].Version != version {
		t.Errorf("the list is %+v", list)
	}
	streamed := p.streamed()

	p.exits(3, []string{"restore"}, "name either a file, or a backup by --stored")
	p.exits(3, []string{"restore", "plant.tar.gz"}, `Backup of instance "plant-a"`, "cannot ask for consent")
	p.exits(1, []string{"restore", "plant.tar.gz", "--yes"}, `cannot restore instance "plant-a": there is one`, "--replace")
	p.exits(1, []string{"restore", "--stored", "latest", "--instance", "other", "--yes"}, `cannot find the backup "latest" of instance "other"`)
	damaged := p.read(filepath.Join(p.dir, "plant.tar.gz"))
	p.write("damaged.tar.gz", damaged[:len(damaged)/2]+"x"+damaged[len(damaged)/2+1:])
	p.write("half.tar.gz", damaged[:len(damaged)/2])
	for _, name := range []string{"damaged.tar.gz", "half.tar.gz", "plant-a.yaml", "nothing"} {
		p.exits(3, []string{"restore", name, "--replace", "--yes"}, "cannot ")
	}
	p.untouched(before)

	p.exits(0, []string{"destroy", "--id", "press", "--adopt", "--yes"}, "Applied:")
	p.exits(0, []string{"restore", "--stored", "latest", "--instance", "plant-a", "--replace", "--yes"}, `Restored instance "plant-a": it is at https://`, "What was there before is in the backup plant-a_backup:")
	p.unchanged()

	p.exits(0, []string{"destroy", "plant-a.yaml", "--yes", "--delete-volumes"}, "the backups go too", "volume/plant-a_backup: done")
	var view restoredView
	p.decode(&view, "restore", "plant.tar.gz", "--yes", "-o", "json")
	if view.Instance != "plant-a" || view.Context != "plant-a" || !view.Plan.Applied || view.Before != "" {
		t.Errorf("got %+v", view)
	}
	p.unchanged()
	p.exits(0, []string{"get", "services"}, "press")

	p.exits(0, []string{"destroy", "plant-a.yaml", "--yes", "--delete-volumes"}, "volume/plant-a_broker: done")
	cmd := p.command(t.Context(), "restore", "-", "--yes")
	cmd.Stdin = bytes.NewReader(streamed)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p.unchanged()
}

// streamed is a backup on standard output.
func (p *stackPlant) streamed() []byte {
	p.t.Helper()
	cmd := p.command(p.t.Context(), "backup", "--instance", "plant-a", "--out", "-")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		p.t.Fatalf("%v\n%s", err, errs.String())
	}
	if !bytes.HasPrefix(errs.Bytes(), []byte("Backed up instance")) {
		p.t.Errorf("it says %s", errs.String())
	}
	return out.Bytes()
}
