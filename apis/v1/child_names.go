package v1

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// ArrivalName returns the name of the Arrival of participant at the barrier of that name and UID. It depends only on its
// arguments, so a participant that arrives again, after a lost response or in a retried Pod, finds its own Arrival.
func ArrivalName(barrier string, uid types.UID, participant string) string {
	return childName(barrier, KindBarrier, string(uid), participant)
}

// ClaimName returns the name of the Claim of holder on target, whose UID is set. podUID is the UID of the Pod that the claim
// is bound to, or empty. Holder and Pod are the claim's identity: the same identity finds its own Claim
// again, and two Pods with the same holder name have one each.
func ClaimName(target ClaimTarget, holder string, podUID types.UID) string {
	return childName(strings.ToLower(target.Kind)+"-"+target.Name, target.Kind, string(target.UID), holder, string(podUID))
}

// childName joins a readable prefix with a hash of parts, within the 253 characters of an object's name.
func childName(prefix string, parts ...string) string {
	const hashLength, maxLength = 16, 253
	h := sha256.New()
	for _, p := range parts {
		// A part can't contain NUL, so no two lists of parts give the same input.
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	hash := strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(h.Sum(nil)))[:hashLength]
	if room := maxLength - hashLength - 1; len(prefix) > room {
		prefix = prefix[:room]
	}
	return strings.TrimRight(prefix, ".-") + "-" + hash
}
