// Package compare measures our broker side by side with mosquitto and nats-server: each load on
// each of them, alone at its time, round after round, so that what else the machine does meets all of
// them. Every server is a process of its own with an empty directory. What is judged is the
// median of the rounds.
//
// Ours logs its clients in and authorises each message, and where sessions are persistent it
// acknowledges what is on disk. Mosquitto runs without persistence and with
// max_queued_messages 0, once with its other defaults and once tuned; the better of the two is
// what ours is held against.
package compare
