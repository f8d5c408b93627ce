# What every driver's test asks; each prints the lines of a TAP test.


class Cases:
    def __init__(self, driver, run, mark):
        self.driver = driver
        self.run = run
        self.mark = mark
        self.count = 0

    def ok(self, good, name):
        self.count += 1
        print("%sok %d - %s: %s" % ("" if good else "not ", self.count, self.driver, name), flush=True)

    def end(self):
        print("1..%d" % self.count, flush=True)

    def show(self, good, name, answer):
        self.ok(good, name)
        if not good:
            print("# answer: %r" % (answer,), flush=True)

    # two documents, "a" and "b"
    def is_two(self, name, answer):
        self.show(not isinstance(answer, str) and sorted(row[1] for row in answer) == ["a", "b"], name, answer)

    def is_refused(self, name, answer):
        self.show(answer in ("42725", "refused by the driver"), name + " is refused", answer)

    def is_two_or_refused(self, name, answer):
        good = answer in ("42725", "refused by the driver") or \
            (not isinstance(answer, str) and sorted(row[1] for row in answer) == ["a", "b"])
        self.show(good, name + " is no text", answer)

    def sql(self, text):
        for n in (1, 2, 3):
            text = text.replace("@%d" % n, "$%d" % n if self.mark == "$" else self.mark)
        return text

    def questions(self):
        one = self.sql("SELECT id, text FROM jflow_post('/x', @1, 'f')")
        return [
            (one, ("plain words",)),
            (one, ('[{"text": "a"}]',)),
            (one, ('{"text": "a"}',)),
            (one, ('{a,b}',)),
            (self.sql("SELECT id, text FROM jflow_post('/x', @1::text[], 'f')"), (["a", "b"],)),
            (self.sql("SELECT id, text FROM jflow_post('/x', @1::jsonb, 'f')"), ('[{"text": "a"}, {"text": "b"}]',)),
            (self.sql("SELECT jsonb_array_length(jflow_call('/x', @1, 'f'))"), ('[{"text": "a"}, {"text": "b"}]',)),
            (self.sql("SELECT id FROM jflow_search(@1, @2, 'f')"), ("a", 5)),
        ]

    # whatever a driver calls an unknown type, nothing becomes a document by guess
    def common(self):
        questions = self.questions()
        names = ["a text without a type", "JSON as a text", "an object as a text", "an array literal as a text"]
        for (sql, values), name in zip(questions[:4], names):
            self.is_refused(name, self.run(sql, *values))
        self.is_two("an array with its type", self.run(questions[4][0], *questions[4][1]))
        self.is_two("JSON with its type", self.run(questions[5][0], *questions[5][1]))
        answer = self.run(questions[6][0], *questions[6][1])
        self.show(not isinstance(answer, str) and answer[0][0] == 2, "jflow_call takes JSON as it comes", answer)
        answer = self.run(questions[7][0], *questions[7][1])
        self.show(answer == [], "jflow_search takes a text and a number", answer)
