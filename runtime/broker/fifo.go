package broker

// fifo is a queue in a slice: appending and taking the first are O(1) on the average, and an
// emptied one keeps little memory. The zero value is empty.
type fifo[T any] struct {
	items []T
	head  int // items[head:] are in the queue
	kept  int // the largest capacity that an emptied one keeps, if more than keptCapacity
}

// keptCapacity is the capacity that an emptied fifo may keep.
const keptCapacity = 16

func (f *fifo[T]) len() int { return len(f.items) - f.head }

// at returns the i-th item; it is valid until the fifo changes.
func (f *fifo[T]) at(i int) *T { return &f.items[f.head+i] }

func (f *fifo[T]) push(v T) {
	if f.head > 0 && len(f.items) == cap(f.items) && f.head >= len(f.items)/2 {
		n := copy(f.items, f.items[f.head:])
		clear(f.items[n:])
		f.items, f.head = f.items[:n], 0
	}
	f.items = append(f.items, v)
}

// pop takes the first item; the fifo must not be empty.
func (f *fifo[T]) pop() T {
	v := f.items[f.head]
	var zero T
	f.items[f.head] = zero
	f.head++
	if f.head == len(f.items) {
		f.items, f.head = f.items[:0], 0
		if cap(f.items) > max(f.kept, keptCapacity) {
			f.items = nil
		}
	}
	return v
}

// remove takes the i-th item out, moving those before it.
func (f *fifo[T]) remove(i int) T {
	v := *f.at(i)
	copy(f.items[f.head+1:f.head+i+1], f.items[f.head:f.head+i])
	f.pop()
	return v
}

// all returns the items in order; they are the fifo's own.
func (f *fifo[T]) all() []T { return f.items[f.head:] }
