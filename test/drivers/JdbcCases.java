// Is what JDBC sends taken for what it is, or refused?
import java.sql.Array;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Types;
import org.postgresql.util.PGobject;

public class JdbcCases {
	static Connection connection;
	static int count = 0;

	interface Setter {
		void set(PreparedStatement statement) throws SQLException;
	}

	static void ok(boolean good, String name, String answer) {
		count++;
		System.out.println((good ? "" : "not ") + "ok " + count + " - JDBC: " + name);
		if (!good)
			System.out.println("# answer: " + answer);
	}

	// the texts of the answer, or the SQLSTATE
	static String run(String sql, Setter setter) {
		StringBuilder result = new StringBuilder();
		try (PreparedStatement statement = connection.prepareStatement(sql)) {
			setter.set(statement);
			try (ResultSet rows = statement.executeQuery()) {
				while (rows.next())
					result.append(rows.getString(1)).append(";");
			}
		} catch (SQLException error) {
			return error.getSQLState();
		}
		return result.toString();
	}

	static void is(String name, String answer, String... expected) {
		boolean good = false;
		for (String e : expected)
			good |= e.equals(answer);
		ok(good, name, answer);
	}

	static PGobject object(String type) throws SQLException {
		PGobject object = new PGobject();
		object.setType(type);
		object.setValue("[{\"text\": \"a\"}, {\"text\": \"b\"}]");
		return object;
	}

	public static void main(String[] args) throws SQLException {
		connection = DriverManager.getConnection("jdbc:postgresql://127.0.0.1:" + System.getenv("PGPORT") + "/postgres?user=app");
		String one = "SELECT text FROM jflow_post('/x', ?, 'f') ORDER BY text";
		Array texts = connection.createArrayOf("text", new String[] {"a", "b"});
		is("an array", run(one, s -> s.setArray(1, texts)), "a;b;");
		is("a text", run(one, s -> s.setString(1, "words")), "42725");
		is("JSON as a text", run(one, s -> s.setString(1, "[{\"text\": \"a\"}]")), "42725");
		is("JSON of unknown type", run(one, s -> s.setObject(1, "[{\"text\": \"a\"}]", Types.OTHER)), "42725", "a;");
		is("JSON with its type", run(one.replace("?", "?::jsonb"), s -> s.setString(1, "[{\"text\": \"a\"}, {\"text\": \"b\"}]")), "a;b;");
		is("jflow_call takes JSON as it comes", run("SELECT jsonb_array_length(jflow_call('/x', ?::jsonb, 'f'))",
				s -> s.setString(1, "[{\"text\": \"a\"}]")), "1;");
		is("jflow_search takes a text and an int", run("SELECT id FROM jflow_search(?, ?, 'f')", s -> {
			s.setString(1, "a");
			s.setInt(2, 5);
		}), "");
		is("jflow_search takes a text and a long", run("SELECT id FROM jflow_search(?, ?, 'f')", s -> {
			s.setString(1, "a");
			s.setLong(2, 5L);
		}), "");
		is("request_size is a long", run("SELECT text FROM jflow_post('/x', ?, 'f', request_size => ?) ORDER BY text", s -> {
			s.setArray(1, texts);
			s.setLong(2, 1L);
		}), "a;b;");
		is("an object of type json", run(one, s -> s.setObject(1, object("json"))), "a;b;");
		is("an object of type jsonb", run(one, s -> s.setObject(1, object("jsonb"))), "a;b;");
		connection.close();
		System.out.println("1.." + count);
	}
}
