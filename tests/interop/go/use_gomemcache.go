// gomemcache, a client a node and one that spreads keys over all.
package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

var turn int

func same(got, wanted interface{}, what string) {
	if fmt.Sprint(got) != fmt.Sprint(wanted) {
		panic(fmt.Sprintf("%s: %.200v and not %.200v", what, got, wanted))
	}
}

func value(client *memcache.Client, key string) string {
	item, err := client.Get(key)
	if err == memcache.ErrCacheMiss {
		return "-"
	}
	same(err, nil, "get "+key)
	return string(item.Value)
}

func set(client *memcache.Client, key, value string, seconds int32) {
	same(client.Set(&memcache.Item{Key: key, Value: []byte(value), Expiration: seconds, Flags: 7}), nil, "set "+key)
}

func basics(at func() *memcache.Client) {
	set(at(), "a", "1", 600)
	item, err := at().Get("a")
	same(err, nil, "get at the next node")
	same([]interface{}{string(item.Value), item.Flags}, []interface{}{"1", 7}, "value and flags")
	same(at().Add(&memcache.Item{Key: "a"}), memcache.ErrNotStored, "add of what is there")
	same(at().Replace(&memcache.Item{Key: "none"}), memcache.ErrNotStored, "replace of what is not")
	item.Value = []byte("2")
	same(at().CompareAndSwap(item), nil, "cas")
	same(at().CompareAndSwap(item), memcache.ErrCASConflict, "cas with the version before")
	same(value(at(), "a"), "2", "after cas")
	same(at().Delete("a"), nil, "delete")
	same(at().Delete("a"), memcache.ErrCacheMiss, "delete again")
}

func numbers(at func() *memcache.Client) {
	set(at(), "n", "10", 0)
	number, err := at().Increment("n", 5)
	same([]interface{}{number, err}, []interface{}{15, nil}, "increment")
	number, err = at().Decrement("n", 20)
	same([]interface{}{number, err}, []interface{}{0, nil}, "decrement stops at 0")
	_, err = at().Increment("none", 1)
	same(err, memcache.ErrCacheMiss, "increment of what is not there")
}

func many(at func() *memcache.Client) {
	keys := make([]string, 500)
	for n := range keys {
		keys[n] = fmt.Sprint("many:", n)
		set(at(), keys[n], keys[n], 600)
	}
	items, err := at().GetMulti(keys)
	same([]interface{}{len(items), err}, []interface{}{len(keys), nil}, "get of many")
	for key, item := range items {
		same(string(item.Value), key, "one of many")
	}
	big := make([]byte, 500_000)
	rand.Read(big)
	same(at().Set(&memcache.Item{Key: "big", Value: big}), nil, "set of 500,000 bytes")
	item, err := at().Get("big")
	same(err, nil, "get of 500,000 bytes")
	same(bytes.Equal(item.Value, big), true, "500,000 bytes")
}

func times(at func() *memcache.Client) {
	set(at(), "t", "x", 1)
	set(at(), "kept", "x", 1)
	same(at().Touch("kept", 600), nil, "touch")
	for end := time.Now().Add(8 * time.Second); value(at(), "t") != "-"; time.Sleep(50 * time.Millisecond) {
		same(time.Now().Before(end), true, "an expiry")
	}
	same(value(at(), "kept"), "x", "what was touched")
	same(at().FlushAll(), nil, "flush_all")
	same(value(at(), "kept"), "-", "after flush_all")
}

func main() {
	nodes := os.Args[1:]
	clients := make([]*memcache.Client, len(nodes))
	for n, node := range nodes {
		clients[n] = memcache.New(node)
		clients[n].Timeout = 10 * time.Second
	}
	spread := memcache.New(nodes...)
	spread.Timeout = 10 * time.Second
	byTurns := func() *memcache.Client { turn++; return clients[turn%len(clients)] }
	for _, test := range []func(func() *memcache.Client){basics, numbers, many, times} {
		test(byTurns)
		test(func() *memcache.Client { return spread })
	}
}
