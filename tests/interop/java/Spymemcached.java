// spymemcached over both protocols, with its ketama ring over all nodes.

import java.io.Serializable;
import java.net.InetSocketAddress;
import java.util.*;
import java.util.stream.*;
import net.spy.memcached.*;
import net.spy.memcached.ConnectionFactoryBuilder.Locator;
import net.spy.memcached.ConnectionFactoryBuilder.Protocol;

public class Spymemcached {
    private static final byte[] BIG = new byte[500_000];

    public static void main(String[] nodes) throws Exception {
        System.setProperty("net.spy.log.LoggerImpl", "net.spy.memcached.compat.log.SunLogger");
        java.util.logging.Logger.getLogger("net.spy").setLevel(java.util.logging.Level.WARNING);
        new Random(1).nextBytes(BIG);
        List<InetSocketAddress> all = AddrUtil.getAddresses(String.join(" ", nodes));
        for (Protocol protocol : Protocol.values()) {
            ConnectionFactory factory = new ConnectionFactoryBuilder().setProtocol(protocol).setOpTimeout(10_000)
                .setLocatorType(Locator.CONSISTENT).setHashAlg(DefaultHashAlgorithm.KETAMA_HASH).build();
            MemcachedClient one = new MemcachedClient(factory, all.subList(0, 1));
            MemcachedClient spread = new MemcachedClient(factory, all);
            basics(one, spread);
            many(spread, one);
            times(one, spread);
            one.shutdown();
            spread.shutdown();
        }
    }

    private static void basics(MemcachedClient a, MemcachedClient b) throws Exception {
        same(a.set("a", 600, "1").get(), true, "set");
        same(b.get("a"), "1", "get at another node");
        same(b.add("a", 600, "2").get(), false, "add of what is there");
        same(a.replace("none", 600, "2").get(), false, "replace of what is not");
        CASValue<Object> read = a.gets("a");
        same(b.cas("a", read.getCas(), "new"), CASResponse.OK, "cas");
        same(b.cas("a", read.getCas(), "newer"), CASResponse.EXISTS, "cas with the version before");
        same(a.incr("n", 5, 10L), 10L, "incr of what is not there");
        same(b.incr("n", 5, 10L), 15L, "incr");
        same(a.decr("n", 20), 0L, "decr stops at 0");
        same(a.delete("a").get(), true, "delete");
        same(b.get("a"), null, "after delete");
    }

    private static void many(MemcachedClient a, MemcachedClient b) throws Exception {
        List<String> keys = IntStream.range(0, 500).mapToObj(n -> "many:" + n).collect(Collectors.toList());
        for (String key : keys) {
            same(a.set(key, 600, key).get(), true, "set of many");
        }
        Map<String, Object> wanted = keys.stream().collect(Collectors.toMap(key -> key, key -> key));
        same(b.getBulk(keys), wanted, "getBulk");
        a.set("big", 600, BIG).get();
        same(Arrays.equals((byte[]) b.get("big"), BIG), true, "500,000 bytes");
    }

    private static void times(MemcachedClient a, MemcachedClient b) throws Exception {
        a.set("t", 1, "x").get();
        a.set("kept", 1, "x").get();
        same(b.touch("kept", 600).get(), true, "touch");
        long end = System.nanoTime() + 8_000_000_000L;
        while (b.get("t") != null) {
            same(System.nanoTime() < end, true, "an expiry");
            Thread.sleep(50);
        }
        same(a.get("kept"), "x", "what was touched");
        a.flush().get();
        same(b.get("kept"), null, "after flush");
    }

    private static void same(Object got, Object wanted, String what) {
        if (!Objects.equals(got, wanted)) {
            throw new AssertionError(what + ": " + got + " and not " + wanted);
        }
    }
}
