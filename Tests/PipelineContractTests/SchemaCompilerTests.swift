// SchemaCompilerTests: mistakes in the JSON Schema, and the contract hash.

import Foundation
import PipelineContract
import Testing

@Suite("The linter explains mistakes in the JSON Schema")
struct SchemaCompilerTests {
    static let mistakes: [Mistake] = [
        Mistake("\"MedInc\": {", "\"MedInc\" {", .jsonSyntax, mend: "\"key\": value"),
        Mistake("\"maxLength\": 64 },", "\"maxLength\": 64, },", .jsonSyntax, mend: "remove the comma"),
        Mistake("\"minimum\": -90", "\"minimum\": -090", .jsonSyntax, mend: "double quotes"),
        Mistake("\"title\": \"Housing event\"", "\"title\": \"Housing \\q\"", .jsonSyntax, mend: "\\\\"),
        Mistake(
            "\"type\": \"object\"", "\"type\": \"object\", \"type\": \"object\"", .duplicateKey, mend: "remove one"),
        Mistake("2020-12/schema", "draft-07/schema", .badSchema, mend: "2020-12"),
        Mistake("\"type\": \"object\"", "\"type\": \"array\"", .badSchema, mend: "\"object\""),
        Mistake(
            "\"type\": \"object\",", "\"type\": \"object\", \"allOf\": [],", .unsupportedKeyword,
            mend: "merge the parts"),
        Mistake("\"type\": \"object\",", "\"type\": \"object\", \"minimum\": 1,", .unsupportedKeyword, mend: "move it"),
        Mistake("\"HouseAge\": {", "\"HouseAge\": { \"$ref\": \"#/$defs/age\",", .unsupportedKeyword, mend: "in place"),
        Mistake("\"maxLength\": 64", "\"maxLenght\": 64", .unsupportedKeyword, mend: "`maxLength`"),
        Mistake(
            "\"additionalProperties\": false", "\"additionalProperties\": {}", .unsupportedKeyword,
            mend: "name each field"),
        Mistake(
            "\"id\": { \"type\": \"string\", \"minLength\": 1, \"maxLength\": 64 },",
            "\"id\": { \"type\": \"string\" }, \"a\": { \"type\": \"object\" },", .unsupportedKeyword,
            mend: "one field per value"),
        Mistake(
            "\"Latitude\": { \"type\": \"number\"", "\"Latitude\": { \"type\": \"nmber\"", .badSchema,
            mend: "\"number\""),
        Mistake(
            "\"Latitude\": { \"type\": \"number\"", "\"Latitude\": { \"type\": [\"number\", \"string\"]", .badSchema,
            mend: "one of"),
        Mistake("\"format\": \"date-time\"", "\"format\": \"date\"", .unsupportedKeyword, mend: "date-time"),
        Mistake("\"minimum\": -90", "\"minimum\": \"-90\"", .badSchema, mend: "without quotation marks"),
        Mistake("\"minimum\": -90", "\"minimum\": 900", .badSchema, mend: "swap"),
        Mistake("\"minimum\": -90", "\"minimum\": -90, \"exclusiveMinimum\": -91", .badSchema, mend: "keep one"),
        Mistake("\"minLength\": 1", "\"minLength\": 65", .badSchema, mend: "swap"),
        Mistake("\"minLength\": 1", "\"minLength\": 1.5", .badSchema, mend: "64"),
        Mistake("\"minLength\": 1", "\"minimum\": 1", .badSchema, mend: "change the type"),
        Mistake("\"minLength\": 1", "\"enum\": [1]", .badSchema, mend: "[\"a\", \"b\"]"),
        Mistake("\"minLength\": 1", "\"pattern\": \"(\"", .badSchema, mend: "^[a-z]+$"),
        Mistake("\"required\": [\"id\"", "\"required\": [\"ID\"", .unknownField, mend: "\"id\""),
        Mistake("\"Latitude\", \"Longitude\"]", "\"Latitude\", \"id\"]", .badSchema, mend: "remove one"),
    ]

    @Test("A mistake is explained with its line and mend", arguments: mistakes)
    func mistake(_ mistake: Mistake) throws {
        try mistake.check(inSchema: true)
    }

    @Test("A field that may be missing is doubtful as identity or event time")
    func optionalFields() throws {
        let fixture = try PipelineFixture()
        fixture.schema = fixture.schema.replacingOccurrences(of: "\"id\", \"timestamp\", ", with: "")
        let diagnostics = try fixture.lint()
        #expect(diagnostics.map(\.code) == [.optionalField, .optionalField])
        #expect(diagnostics.allSatisfy { $0.severity == .warning && $0.mend.contains("required") })
    }

    @Test("A bracket that is missing at the end is named")
    func missingBracket() throws {
        let fixture = try PipelineFixture()
        fixture.schema = String(fixture.schema.dropLast(2))
        let diagnostics = try fixture.lint()
        #expect(diagnostics.map(\.code) == [.jsonSyntax])
        #expect(diagnostics[0].mend == "add the missing `}`")
    }

    @Test("Escapes, surrogate pairs and every kind of field are read")
    func allKinds() throws {
        let fixture = try PipelineFixture()
        fixture.schema = fixture.schema.replacingOccurrences(
            of: "\"properties\": {",
            with: """
                "x-owner": "\\u00e9\\ud83d\\ude00\\n",
                "properties": {
                  "flag": { "type": "boolean" },
                  "count": { "type": ["null", "integer"], "exclusiveMinimum": 0, "exclusiveMaximum": 1e3 },
                  "colour": { "type": "string", "enum": ["r\\u00e9d", "blue"], "pattern": "^[a-zé]+$" },
                """)
        try fixture.write()
        let fields = try PipelineLoader.load(path: fixture.pipelinePath).input.schema.fields
        #expect(fields.prefix(3).map(\.name) == ["flag", "count", "colour"])
        #expect(fields[1].type == .integer && fields[1].isNullable && fields[1].isMinimumExclusive)
        #expect(fields[1].maximum == 1_000 && fields[1].isMaximumExclusive)
        #expect(fields[2].enumeration == ["réd", "blue"])
        #expect(fields[3].lengthMin == 1 && fields[3].lengthMax == 64)
    }

    @Test("The contract hash of the housing schema is the documented one")
    func contractHash() throws {
        let schema = try PipelineLoader.load(path: PipelineFixture.housing.path).input.schema
        #expect(
            schema.canonicalText == """
                {"fields":[{"name":"id","nullable":false,"required":true,"type":"string"},\
                {"name":"timestamp","nullable":false,"required":true,"type":"timestamp"},\
                {"name":"MedInc","nullable":true,"required":false,"type":"number"},\
                {"name":"HouseAge","nullable":true,"required":false,"type":"number"},\
                {"name":"AveRooms","nullable":true,"required":false,"type":"number"},\
                {"name":"AveBedrms","nullable":true,"required":false,"type":"number"},\
                {"name":"Population","nullable":true,"required":false,"type":"number"},\
                {"name":"AveOccup","nullable":true,"required":false,"type":"number"},\
                {"name":"Latitude","nullable":false,"required":true,"type":"number"},\
                {"name":"Longitude","nullable":false,"required":true,"type":"number"}],"version":1}
                """)
        // First 16 digits of `sha256sum` over the text above.
        #expect(schema.contractHash == 0x62e8_e821_63ba_fdc7)
    }

    @Test("The contract hash changes with names, order, types and nulls, and not with limits")
    func contractHashCovers() {
        typealias Field = EventSchema.Field
        let a = Field(name: "a", type: .number, isRequired: true)
        let b = Field(name: "b", type: .string, isRequired: false)
        let hash = EventSchema(fields: [a, b]).contractHash
        #expect(EventSchema(fields: [b, a]).contractHash != hash)
        #expect(EventSchema(fields: [a, Field(name: "c", type: .string, isRequired: false)]).contractHash != hash)
        #expect(EventSchema(fields: [a, Field(name: "b", type: .boolean, isRequired: false)]).contractHash != hash)
        var nullable = a
        nullable.isNullable = true
        #expect(EventSchema(fields: [nullable, b]).contractHash != hash)
        var limited = a
        limited.maximum = 5
        #expect(EventSchema(fields: [limited, b]).contractHash == hash)
        let quoted = EventSchema(fields: [Field(name: "q\"\\\n", type: .number, isRequired: true)])
        #expect(quoted.canonicalText.contains(#""q\"\\\u000a""#))
    }
}
