package runlog

import "crony"

// RunItem returns the item of a run. Invalid if the id is none.
func RunItem(id crony.RunID) (Item, error) {
	k, err := parseID(id)
	if err != nil {
		return Item{}, err
	}
	return Item{Day: k.day().String(), Key: string(k[:])}, nil
}
