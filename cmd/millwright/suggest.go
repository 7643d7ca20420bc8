package main

import "github.com/spf13/cobra"

// nearest returns the candidate that was probably meant, by the measure that cobra uses for
// commands; ok is false where none is near.
func nearest(word string, candidates []string) (best string, ok bool) {
	if len(word) < 2 {
		return "", false
	}
	scratch := &cobra.Command{}
	for _, c := range candidates {
		scratch.AddCommand(&cobra.Command{Use: c, Run: func(*cobra.Command, []string) {}})
	}
	for distance := 1; distance <= 2; distance++ {
		scratch.SuggestionsMinimumDistance = distance
		if near := scratch.SuggestionsFor(word); len(near) > 0 {
			return near[0], true
		}
	}
	return "", false
}
