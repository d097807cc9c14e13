// Spring's @Cacheable over spymemcached's bean: two servers, each with a node of its own for its first, share what they have worked out.

import java.math.BigDecimal;
import java.util.*;
import java.util.concurrent.Callable;
import net.spy.memcached.MemcachedClient;
import org.springframework.cache.annotation.*;
import org.springframework.cache.support.AbstractValueAdaptingCache;
import org.springframework.context.support.GenericXmlApplicationContext;
import org.springframework.core.io.ByteArrayResource;

public class SpringCache {
    private static final String CONFIGURATION = """
        <beans xmlns="http://www.springframework.org/schema/beans" xmlns:cache="http://www.springframework.org/schema/cache"
               xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="
                 http://www.springframework.org/schema/beans http://www.springframework.org/schema/beans/spring-beans.xsd
                 http://www.springframework.org/schema/cache http://www.springframework.org/schema/cache/spring-cache.xsd">
          <cache:annotation-driven/>
          <bean id="memcached" class="net.spy.memcached.spring.MemcachedClientFactoryBean">
            <property name="servers" value="%s"/>
            <property name="protocol" value="%s"/>
            <property name="opTimeout" value="10000"/>
          </bean>
          <bean id="cacheManager" class="org.springframework.cache.support.SimpleCacheManager">
            <property name="caches">
              <bean class="SpringCache$PoolCache">
                <constructor-arg value="prices"/><constructor-arg ref="memcached"/><constructor-arg value="600"/>
              </bean>
            </property>
          </bean>
          <bean id="prices" class="SpringCache$Catalogue"/>
        </beans>
        """;

    /** One of Spring's caches, in the pool: Spring itself brings none for memcached. */
    public static class PoolCache extends AbstractValueAdaptingCache {
        private final String name;
        private final MemcachedClient client;
        private final int seconds;

        public PoolCache(String name, MemcachedClient client, int seconds) {
            super(true);
            this.name = name;
            this.client = client;
            this.seconds = seconds;
        }

        private String at(Object key) {
            return name + ":" + key;
        }

        @Override
        public String getName() {
            return name;
        }

        @Override
        public Object getNativeCache() {
            return client;
        }

        @Override
        protected Object lookup(Object key) {
            return client.get(at(key));
        }

        @Override
        @SuppressWarnings("unchecked")
        public <T> T get(Object key, Callable<T> loader) {
            ValueWrapper found = get(key);
            if (found != null) {
                return (T) found.get();
            }
            try {
                T value = loader.call();
                put(key, value);
                return value;
            } catch (Exception thrown) {
                throw new ValueRetrievalException(key, loader, thrown);
            }
        }

        @Override
        public void put(Object key, Object value) {
            client.set(at(key), seconds, toStoreValue(value)).getStatus();
        }

        @Override
        public ValueWrapper putIfAbsent(Object key, Object value) {
            return client.add(at(key), seconds, toStoreValue(value)).getStatus().isSuccess() ? null : get(key);
        }

        @Override
        public void evict(Object key) {
            client.delete(at(key)).getStatus();
        }

        @Override
        public void clear() {
            client.flush().getStatus();
        }
    }

    public interface Prices {
        BigDecimal of(String article);

        BigDecimal ofOnce(String article);

        BigDecimal change(String article, String price);

        void forget(String article);

        void forgetAll();

        int worked();
    }

    /** Whose work is to be saved. */
    public static class Catalogue implements Prices {
        private int worked;

        @Override
        @Cacheable("prices")
        public BigDecimal of(String article) {
            worked++;
            return article.isEmpty() ? null : BigDecimal.valueOf(article.length());
        }

        @Override
        @Cacheable(cacheNames = "prices", sync = true)
        public BigDecimal ofOnce(String article) {
            return of(article);
        }

        @Override
        @CachePut(cacheNames = "prices", key = "#p0")
        public BigDecimal change(String article, String price) {
            return new BigDecimal(price);
        }

        @Override
        @CacheEvict("prices")
        public void forget(String article) {}

        @Override
        @CacheEvict(cacheNames = "prices", allEntries = true)
        public void forgetAll() {}

        @Override
        public int worked() {
            return worked;
        }
    }

    public static void main(String[] nodes) throws Exception {
        // A program in one file is not on the class path.
        Thread.currentThread().setContextClassLoader(SpringCache.class.getClassLoader());
        for (String protocol : List.of("TEXT", "BINARY")) {
            try (GenericXmlApplicationContext one = server(protocol, nodes[0]); GenericXmlApplicationContext two = server(protocol, nodes[1])) {
                share(one.getBean(Prices.class), two.getBean(Prices.class));
            }
        }
    }

    private static GenericXmlApplicationContext server(String protocol, String node) {
        return new GenericXmlApplicationContext(new ByteArrayResource(CONFIGURATION.formatted(node, protocol).getBytes()));
    }

    private static void share(Prices one, Prices two) {
        one.forgetAll();
        same(one.of("shoe"), BigDecimal.valueOf(4), "the first call");
        same(two.of("shoe"), BigDecimal.valueOf(4), "the same at another server");
        same(List.of(one.worked(), two.worked()), List.of(1, 0), "the work is done once");
        one.of("");
        same(two.of(""), null, "that there is nothing is kept too");
        same(two.change("shoe", "9.99"), new BigDecimal("9.99"), "a change");
        same(one.of("shoe"), new BigDecimal("9.99"), "what was changed elsewhere");
        same(List.of(one.worked(), two.worked()), List.of(2, 0), "nothing of it is work");
        one.forget("shoe");
        same(two.ofOnce("shoe"), BigDecimal.valueOf(4), "after it was forgotten");
        same(one.ofOnce("shoe"), BigDecimal.valueOf(4), "a call that waits for others like it");
        two.forgetAll();
        one.of("shoe");
        same(List.of(one.worked(), two.worked()), List.of(3, 1), "all forgotten");
    }

    private static void same(Object got, Object wanted, String what) {
        if (!Objects.equals(got, wanted)) {
            throw new AssertionError(what + ": " + got + " and not " + wanted);
        }
    }
}
