// go-redis, a client a node: strings, expiry, conditions, many keys at once, the walk, pipelines, transactions, a lock script.
package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"sort"
	"time"

	"gopkg.in/redis.v5"
)

var turn int
var clients []*redis.Client

func at() *redis.Client {
	turn++
	return clients[turn%len(clients)]
}

func same(got interface{}, err error, wanted interface{}, what string) {
	if err != nil || fmt.Sprint(got) != fmt.Sprint(wanted) {
		panic(fmt.Sprintf("%s: %.200v, %v and not %.200v", what, got, err, wanted))
	}
}

func value(key string) string {
	text, err := at().Get(key).Result()
	if err == redis.Nil {
		return "-"
	}
	same(err, nil, nil, "get "+key)
	return text
}

func status(command *redis.StatusCmd, what string) { same(command.Val(), command.Err(), "OK", what) }

func whether(command *redis.BoolCmd, wanted bool, what string) {
	same(command.Val(), command.Err(), wanted, what)
}

func number(command *redis.IntCmd, wanted int, what string) {
	same(command.Val(), command.Err(), wanted, what)
}

func basics() {
	status(at().Set("a", "1", 0), "set")
	same(value("a"), nil, "1", "get at the next node")
	same(value("none"), nil, "-", "get of what is not there")
	whether(at().SetNX("a", "2", 0), false, "set nx of what is there")
	whether(at().SetNX("new", "2", time.Minute), true, "set nx of what is not")
	whether(at().SetXX("none", "2", 0), false, "set xx of what is not there")
	whether(at().SetXX("a", "2", time.Minute), true, "set xx of what is")
	old, err := at().GetSet("a", "3").Result()
	same(old, err, "2", "getset")
	number(at().Append("a", "4"), 2, "append")
	number(at().StrLen("a"), 2, "strlen")
	whether(at().Exists("a"), true, "exists")
	number(at().Del("a", "new", "none"), 2, "del of three")
	whether(at().Exists("a"), false, "exists of what is removed")
	big := make([]byte, 500_000)
	rand.Read(big)
	status(at().Set("big", big, 0), "set of 500,000 bytes")
	got, err := at().Get("big").Bytes()
	same(bytes.Equal(got, big), err, true, "500,000 bytes")
}

func numbers() {
	number(at().Incr("n"), 1, "incr of nothing")
	number(at().IncrBy("n", 9), 10, "incrby")
	number(at().DecrBy("n", 15), -5, "decrby goes below 0")
	sum, err := at().IncrByFloat("f", 1.5).Result()
	same(sum, err, 1.5, "incrbyfloat")
	status(at().Set("n", "text", 0), "set of a text")
	err = at().Incr("n").Err()
	same(err, nil, "ERR value is not an integer or out of range", "incr of a text")
}

func many() {
	pairs, keys := []interface{}{}, []string{}
	for n := 0; n < 1000; n++ {
		keys = append(keys, fmt.Sprint("many:", n))
		pairs = append(pairs, keys[n], n)
	}
	status(at().MSet(pairs...), "mset")
	values, err := at().MGet(append(keys, "none")...).Result()
	same(len(values), err, 1001, "mget")
	for n, each := range values[:1000] {
		same(each, nil, n, "one of many")
	}
	same(values[1000], nil, nil, "one that is not there")
	walked := []string{}
	walk := at().Scan(0, "many:*", 100).Iterator()
	for walk.Next() {
		walked = append(walked, walk.Val())
	}
	sort.Strings(walked)
	sort.Strings(keys)
	same(walked, walk.Err(), keys, "scan of the pool")
	number(at().Del(keys...), 1000, "del of many")
}

func batches() {
	replies, err := at().Pipelined(func(pipe *redis.Pipeline) error {
		for n := 0; n < 500; n++ {
			pipe.Set(fmt.Sprint("piped:", n), n, time.Minute)
			pipe.Get(fmt.Sprint("piped:", n))
		}
		return nil
	})
	same(len(replies), err, 1000, "a pipeline")
	for n := 0; n < 500; n++ {
		reply := replies[2*n+1].(*redis.StringCmd)
		same(reply.Val(), reply.Err(), n, "one of a pipeline")
	}
	var counted *redis.IntCmd
	_, err = at().TxPipelined(func(pipe *redis.Pipeline) error {
		pipe.Set("p", 1, 0)
		counted = pipe.Incr("p")
		pipe.Expire("p", time.Minute)
		return nil
	})
	same(err, nil, nil, "a transaction")
	number(counted, 2, "a count in a transaction")
}

// Adds one to p after `meanwhile`, unless somebody else has written it by then.
func watched(meanwhile func()) error {
	client := at()
	return client.Watch(func(tx *redis.Tx) error {
		before, err := tx.Get("p").Int64()
		same(err, nil, nil, "get in a transaction")
		meanwhile()
		_, err = tx.Pipelined(func(pipe *redis.Pipeline) error {
			pipe.Set("p", before+1, 0)
			return nil
		})
		return err
	}, "p")
}

func watches() {
	same(watched(func() {}), nil, nil, "a watched transaction")
	same(value("p"), nil, "3", "after it")
	same(watched(func() { status(at().Set("p", 7, 0), "another's set") }), nil, redis.TxFailedErr, "a transaction that comes too late")
	same(value("p"), nil, "7", "what the other has set")
}

func locks() {
	release := redis.NewScript(`if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end`)
	whether(at().SetNX("lock", "mine", 10*time.Second), true, "a lock")
	done, err := release.Run(at(), []string{"lock"}, "yours").Result()
	same(done, err, 0, "release of another's lock")
	done, err = release.Run(at(), []string{"lock"}, "mine").Result()
	same(done, err, 1, "release")
}

func times() {
	status(at().Set("t", "x", 300*time.Millisecond), "set for 300 ms")
	status(at().Set("kept", "x", time.Second), "set for a second")
	whether(at().Expire("kept", 10*time.Minute), true, "expire")
	left, err := at().TTL("kept").Result()
	same(left > 595*time.Second && left <= 600*time.Second, err, true, "ttl")
	for end := time.Now().Add(8 * time.Second); value("t") != "-"; time.Sleep(50 * time.Millisecond) {
		same(time.Now().Before(end), nil, true, "an expiry")
	}
	whether(at().Persist("kept"), true, "persist")
	left, err = at().TTL("kept").Result()
	same(left, err, -time.Second, "ttl of what stays")
	status(at().FlushDb(), "flushdb")
	number(at().DbSize(), 0, "after flushdb")
}

func main() {
	for _, node := range os.Args[1:] {
		clients = append(clients, redis.NewClient(&redis.Options{Addr: node, ReadTimeout: 10 * time.Second}))
	}
	for _, test := range []func(){basics, numbers, many, batches, watches, locks, times} {
		test()
	}
}
